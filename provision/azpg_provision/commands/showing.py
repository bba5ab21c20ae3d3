"""How plans look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azpg.output import out, print_table

if TYPE_CHECKING:
    from azpg_provision.plan.plan import Plan

_COLOURS = {"create": "green", "update": "yellow", "replace": "red"}
_LONGEST = 60


def show_plan(plan: Plan) -> None:
    """Prints the changes as a table, and the notes below it."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415

    if plan.changes:
        table = Table(
            "action",
            "what",
            Column("database", overflow="fold"),
            Column("name", overflow="fold"),
            Column("change", overflow="fold"),
            box=None,
            pad_edge=False,
        )
        for change in plan.changes:
            action = change.action.value
            parts = [_difference(change.before, change.after), change.note]
            table.add_row(
                f"[{_COLOURS[action]}]{action}[/]",
                change.kind.value.replace("_", " "),
                escape(_one_line(change.database or "")),
                escape(_one_line(change.name)),
                escape("; ".join(part for part in parts if part)),
            )
        print_table(table)
    for note in plan.notes:
        out().print(f"[dim]note: {escape(_one_line(note))}[/]")


def counted(number: int) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number} change{'' if number == 1 else 's'}"


def _difference(before: Any, after: Any) -> str:
    """What changes, shortly: the keys that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in after if before.get(key) != after[key]]
        return ", ".join(filter(None, (_arrow(key, before.get(key), after[key]) for key in keys)))
    if isinstance(after, dict):
        shown = {
            key: value
            for key, value in after.items()
            if value not in (None, "", [], {}, False) and key != "fingerprint"
        }
        return ", ".join(f"{key}: {_short(value, key)}" for key, value in shown.items())
    if before is not None and before != after:
        return f"{_short(before)} → {_short(after)}"
    return "" if after is True else _short(after)


def _arrow(key: str, before: Any, after: Any) -> str:
    if key == "fingerprint":  # whose values say nothing to a person
        return "" if before is None else "another model"
    return f"{key}: {_short(after)}" if before is None else f"{key}: {_short(before)} → {_short(after)}"


def _short(value: Any, key: str = "") -> str:
    if key == "sha256":
        return str(value)[:12]
    if isinstance(value, list):
        text = ", ".join(map(str, value))
    elif isinstance(value, dict):
        text = ", ".join(f"{key} {one}" for key, one in value.items()) or "{}"
    else:
        text = "" if value is None else str(value)
    text = _one_line(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
