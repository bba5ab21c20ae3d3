"""What pydantic found wrong with a spec, in words: what it was, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from azpg_provision.spec.document import Path
from azpg_provision.spec.secret import shown

_LATER_KEYS = {"chunking": "chunking comes later: store one row for each piece of text, and leave it out"}
_Say = Callable[[Mapping[str, Any], str], str]
_WORDS: dict[str, _Say] = {
    "missing": lambda context, value: "is missing",
    "literal_error": lambda context, value: f"{value} is not allowed: use {context['expected']}",
    "greater_than_equal": lambda context, value: f"{value} is too small: use {context['ge']} or more",
    "less_than_equal": lambda context, value: f"{value} is too large: use {context['le']} or less",
    "string_too_short": lambda context, value: "is empty: write something, or leave the key out",
    "string_too_long": lambda context, value: f"is too long: use {context['max_length']} characters at most",
    "too_short": lambda context, value: "is empty: name at least one",
    "string_pattern_mismatch": lambda context, value: (
        f"{value} is no resource id: use /subscriptions/…/flexibleServers/NAME, as `az` prints it"
    ),
}
_TYPES = {
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text; put it in quotes if it looks like a number",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping of names to values",
    "model": "a mapping of keys to values",
    "float": "a number",
}
"""By the first word of pydantic's error type, such as `int_type`."""


def in_words(error: ValidationError, model: type[BaseModel]) -> list[tuple[Path, str]]:
    """Each mistake by its place, such as ``("models", 0, "uri")``, in the order of the fields."""
    found: dict[Path, str] = {}
    for one in error.errors(include_url=False):
        if one["type"] == "too_short" and one["input"]:
            continue  # it has elements, which are wrong themselves
        path, owner = _place(one["loc"], model)
        found.setdefault(path, _say(one, path, owner))
    return list(found.items())


def misspelt(error: ValidationError, model: type[BaseModel]) -> dict[Path, str]:
    """The keys that are unknown, by their places, and the known ones that are probably meant."""
    found = {}
    for one in error.errors(include_url=False):
        if one["type"] == "extra_forbidden":
            path, owner = _place(one["loc"], model)
            if path and isinstance(path[-1], str) and (near := _near(path[-1], owner)) is not None:
                found[path] = near
    return found


def _say(found: ErrorDetails, path: Path, owner: type[BaseModel]) -> str:
    kind, context = found["type"], found.get("ctx", {})
    value = "this" if path[:1] == ("target",) else shown(found["input"])
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if key == "backend" and found["input"] == "azure_openai":
        return "azure_openai comes later: use azure_local_ai"
    if kind == "extra_forbidden":
        return _LATER_KEYS.get(key) or _unknown(key, owner)
    if kind == "value_error":
        said = str(context["error"])
        return said if key in {"dsn", "expression"} else f"{value} {said}"
    if kind in _WORDS:
        return _WORDS[kind](context, value)
    wanted = kind.split("_")[0]
    return f"{value} is not {_TYPES.get(wanted, 'what can stand here')}{_instead(wanted, value, key, owner)}"


def _instead(wanted: str, value: str, key: str, owner: type[BaseModel]) -> str:
    """What to write where a list or a section was meant."""
    if wanted in {"list", "tuple"}:
        if value == "a mapping":
            return ": begin each of its elements with `- `"
        return f": write [{value}]" if value.startswith("'") else ""
    fields = {field.alias or name: field for name, field in owner.__pydantic_fields__.items()}
    section = _model_in(fields[key].annotation) if wanted == "model" and key in fields else None
    if section is None:
        return ""
    keys = [field.alias or name for name, field in section.__pydantic_fields__.items()]
    return f": use {{{keys[0]}: …}}; its keys are {', '.join(keys)}"


def _unknown(key: str, owner: type[BaseModel]) -> str:
    near = _near(key, owner)
    if near is not None:
        return f"is unknown: did you mean {near}?"
    return f"is unknown: use {', '.join(sorted(_known(owner)))}"


def _near(key: str, owner: type[BaseModel]) -> str | None:
    return next(iter(get_close_matches(key, _known(owner), n=1)), None)


def _known(owner: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in owner.__pydantic_fields__.items()]


def _place(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[Path, type[BaseModel]]:
    """A place without what pydantic adds for unions, and the section that its last key is of."""
    path: list[int | str] = []
    owner, inner = model, model
    free = False  # inside a mapping with keys of the user's own
    for number, part in enumerate(location):
        if isinstance(part, int):
            path.append(part)
            continue
        fields = {field.alias or name: field for name, field in inner.__pydantic_fields__.items()}
        last = number == len(location) - 1
        if part in fields:
            path.append(part)
            owner, inner = inner, _model_in(fields[part].annotation) or inner
            free = part == "settings"
        elif free:
            path.append(part)
            break
        elif last and not _added(part):
            path.append(part)
            owner = inner
    return tuple(path), owner


def _added(part: str) -> bool:
    """Whether pydantic put a part into a place, for a branch of a union."""
    return part in {"str", "int", "float", "bool"} or "[" in part


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
