"""Rich's consoles, which show characters that command a terminal instead of sending them to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from azpg.visible import visible


class Results(Console):
    """Whatever is printed: much of it was chosen by others, such as whoever may write a row of a table."""

    def render_str(self, text: str, **options: Any) -> Text:
        """As Rich's, of a text that is visible."""
        return super().render_str(visible(text, lines=True), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As Rich's, of a text that is visible."""
        if isinstance(renderable, Text):
            renderable = visible_text(renderable, lines=True)
        return super().render(renderable, options)


class Remarks(Results):
    """Nothing fails because nobody reads a remark."""

    def on_broken_pipe(self) -> None:
        """Falls silent, where Rich would end the process."""
        self.quiet = True


def visible_text(text: Text, *, lines: bool = False) -> Text:
    """The text itself, or one that shows what in it would command a terminal, without the styles of parts."""
    plain = visible(text.plain, lines=lines)
    return text if plain == text.plain else text.blank_copy(plain)
