"""Rich's console for standard error."""

from __future__ import annotations

from rich.console import Console


class Remarks(Console):
    """Nothing fails because nobody reads a remark."""

    def on_broken_pipe(self) -> None:
        """Falls silent, where Rich would end the process."""
        self.quiet = True
