"""What ``--help`` prints: usage, meaning, and two columns that leave the words room on 80 columns."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

_INDENT, _GAP = 2, 2
_WIDEST = 26
"""Columns: what is wider has its meaning on the next line."""
_NARROWEST = 20
"""Columns that the meaning has at least, however narrow the terminal."""

Row = tuple[str, str]


def install(command: Any) -> None:
    """Lets a command, and those below it, explain themselves by `write`."""
    command.format_help = _Writer(command)
    command.collect_usage_pieces = lambda ctx: _usage(command, ctx)
    for below in getattr(command, "commands", {}).values():
        install(below)


class _Writer:
    """A command's ``format_help``; prints, as Typer's does, where Click's would fill the formatter."""

    def __init__(self, command: Any) -> None:
        self._command = command

    def __call__(self, ctx: Any, formatter: Any) -> None:
        from azpg.output import out  # noqa: PLC0415

        console = out()
        for line in _page(self._command, ctx, console.width):
            line.rstrip()
            console.print(line, soft_wrap=True)


def _page(command: Any, ctx: Any, width: int) -> Iterable[Any]:
    """The lines of a command's help, as Rich's texts."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    pieces = " ".join([ctx.command_path, *_usage(command, ctx)])
    yield Text.assemble(("Usage: ", "bold"), pieces)
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield Text()
        text = Text.from_markup(paragraph.replace("\n", " "))
        # An example is there to be copied.
        yield from [text] if text.plain.startswith("Example: ") else text.wrap(Console(width=width), width)
    panels = [*_commands(command, ctx).items(), *_parameters(command, ctx).items()]
    spellings = [spelling for _, rows in panels for spelling, _ in rows]
    left = max((len(one) for one in spellings if len(one) <= _WIDEST), default=0)
    for title, rows in panels:
        yield Text()
        yield Text(title, style="bold")
        for spelling, meaning in rows:
            yield from _columns(spelling, meaning, left, width)


def _commands(command: Any, ctx: Any) -> dict[str, list[Row]]:
    """The commands of a group by panel."""
    panels: dict[str, list[Row]] = {}
    for name in command.list_commands(ctx) if hasattr(command, "list_commands") else []:
        below = command.get_command(ctx, name)
        if below is not None and not below.hidden:
            paragraph = inspect.cleandoc(below.help or "").split("\n\n")[0].replace("\n", " ")
            meaning = f"{paragraph.partition(';')[0].rstrip('.')}."  # the command's own help says the rest
            panel = getattr(below, "rich_help_panel", None)
            panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append((name, meaning))
    return panels


def _parameters(command: Any, ctx: Any) -> dict[str, list[Row]]:
    """Arguments and options by panel, arguments first."""
    panels: dict[str, list[Row]] = {}
    shown = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    for parameter in sorted(shown, key=lambda one: not _is_argument(one)):
        usual, spelling = "Options", _option
        if _is_argument(parameter):
            usual, spelling = "Arguments", _argument
        panel = getattr(parameter, "rich_help_panel", None) or usual
        panels.setdefault(panel, []).append((spelling(parameter), _meaning(parameter)))
    return panels


def _columns(spelling: str, meaning: str, left: int, width: int) -> Iterable[Any]:
    """A row: what is typed, and beside it or below what that means."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    room = max(width - _INDENT - left - _GAP, _NARROWEST)
    lines = list(Text.from_markup(meaning).wrap(Console(width=room), room))
    head = Text(" " * _INDENT).append(spelling, style="cyan")
    if len(spelling) <= left and lines:
        head.append(" " * (left - len(spelling) + _GAP)).append_text(lines.pop(0))
    yield head
    yield from (Text(" " * (_INDENT + left + _GAP)).append_text(line) for line in lines)


def _usage(command: Any, ctx: Any) -> list[str]:
    """What follows a command's name in its usage."""
    pieces = [command.options_metavar] if command.options_metavar else []
    for parameter in command.get_params(ctx):
        if _is_argument(parameter) and not getattr(parameter, "hidden", False):
            name = _argument(parameter)
            pieces.append(name if parameter.required else f"[{name}]")
    metavar = getattr(command, "subcommand_metavar", None)
    return [*pieces, metavar] if metavar else pieces


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.nargs == 1 else f"{name}..."


def _option(parameter: Any) -> str:
    """An option as it is typed: ``-l, --local NAME``."""
    spellings = sorted(parameter.opts, key=lambda one: one.startswith("--"))
    typed = ", ".join(spellings)
    if parameter.secondary_opts:
        typed = " / ".join([typed, *parameter.secondary_opts])
    if parameter.is_flag:
        return typed
    return f"{typed} {parameter.metavar or spellings[-1].lstrip('-').split('-')[-1].upper()}"


def _meaning(parameter: Any) -> str:
    """What a parameter is for, and its default where the words do not say it."""
    words = " ".join((parameter.help or "").split())
    default = parameter.default
    shown = parameter.show_default and not getattr(parameter, "is_flag", False) and not callable(default)
    if not shown or default in (None, "", [], ()) or "default:" in words:
        return words
    return f"{words} \\[default: {default}]"
