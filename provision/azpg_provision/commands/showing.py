"""How plans look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azpg.output import complain, one_line, out, print_json, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from azpg_provision.plan.change import Change
    from azpg_provision.plan.plan import Plan, Refusal

_HEADS = ("action", "what", "database", "name", "change")
_GAP = 2
"""Blanks between two columns."""
_REFUSED = "refused"
_COLOURS = {"create": "green", "update": "yellow", "replace": "red", _REFUSED: "red"}
_LONGEST = 60


def show(plan: Plan, *, json: bool, changed: str, same: str) -> None:
    """Prints a plan for machines, or for people, who are told a last sentence for each of both ends.

    What is refused in it is complained of, with every reason.
    """
    if json:
        print_json(plan.as_json())
    else:
        show_plan(plan)
        if plan.changes or not plan.refused:
            out().print(changed if plan.changes else same, markup=False)
    if plan.refused:
        from azpg_provision.plan.plan import as_error  # noqa: PLC0415

        complain(*as_error(plan.refused).lines())


def show_plan(plan: Plan) -> None:
    """Prints the changes, and what is refused, as a table, and the notes below it."""
    from rich.markup import escape  # noqa: PLC0415

    refused = dict.fromkeys((_REFUSED, *_place(one)) for one in plan.refused)
    rows = [_row(change) for change in plan.changes if (_REFUSED, *_place(change)) not in refused]
    if rows or refused:
        print_table(_table([*rows, *((*cells, "") for cells in refused)]))
    for note in plan.notes:
        out().print(f"[dim]note: {escape(one_line(note))}[/]")


def _row(change: Change) -> tuple[str, str, str, str, str]:
    """Action, what, database, name, and what changes."""
    parts = [_difference(change.before, change.after), change.note]
    return (change.action.value, *_place(change), "; ".join(part for part in parts if part))


def _place(one: Change | Refusal) -> tuple[str, str, str]:
    """What, database and name."""
    kind = "" if one.kind is None else one.kind.value.replace("_", " ")
    return kind, one_line(one.database or ""), one_line(one.name)


def _table(rows: list[tuple[str, str, str, str, str]]) -> Table:
    """A column for each; where a terminal is too narrow, what changes stands behind or below the name."""
    from rich.cells import cell_len  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415

    console = out()
    widths = [max(map(cell_len, cells)) + _GAP for cells in zip(_HEADS, *rows, strict=True)]
    beside = not console.is_terminal or sum(widths) - _GAP <= console.width
    left = console.width - sum(widths[:3])
    heads = [Column(head, overflow="fold") for head in (_HEADS if beside else _HEADS[:-1])]
    table = Table(*heads, box=None, pad_edge=False)
    for action, *words, change in rows:
        cells = [f"[{_COLOURS[action]}]{action}[/]", *map(escape, words)]
        below = not beside and cell_len(words[-1]) + _GAP + cell_len(change) > left
        if beside:
            cells.append(escape(change))
        elif not below:
            cells[-1] += f"  [dim]{escape(change)}[/]"
        table.add_row(*cells)
        if below:
            table.add_row("", "", "", Padding(escape(change), (0, 0, 0, _GAP), style="dim"))
    return table


def counted(number: int) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number} change{'' if number == 1 else 's'}"


def summary(plan: Plan) -> str:
    """``12 changes on local default: 10 to create, 2 to update``."""
    actions = [change.action.value for change in plan.changes]
    kinds = ", ".join(f"{actions.count(one)} to {one}" for one in _COLOURS if one in actions)
    return f"{counted(len(actions))} on {plan.target}: {kinds}"


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
    new = _short(after, key)
    return f"{key}: {new}" if before is None else f"{key}: {_short(before, key)} → {new}"


def _short(value: Any, key: str = "") -> str:
    if key == "sha256":
        return str(value)[:12]
    if isinstance(value, list):
        text = ", ".join(map(str, value))
    elif isinstance(value, dict):
        text = ", ".join(f"{key} {one}" for key, one in value.items()) or "{}"
    else:
        text = "" if value is None else str(value)
        if key == "prefix":
            text = f'"{text}"'
        if key == "text":  # columns, as the spec names them
            from azpg_provision.spec.expression import unjoined  # noqa: PLC0415

            text = ", ".join(unjoined(text)) or text
    text = one_line(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
