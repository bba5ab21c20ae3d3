"""What pydantic found wrong, in words: what it was, what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

PATTERNS = {
    "serverName": "3 to 63 lower-case letters, digits and hyphens, no hyphen at an end",
    "aiName": "3 to 63 lower-case letters, digits and hyphens, no hyphen at an end",
    "resourceGroup": "1 to 90 letters, digits, underscores, hyphens, parentheses and dots, no dot at the end",
    "adminUser": "a letter or underscore, then letters, digits and underscores, 63 at most",
    "databases": "a letter or underscore, then letters, digits, underscores and hyphens, 63 at most",
    "tier": "P4 to P80",
    "name": "a letter or digit, then letters, digits, dots, hyphens and underscores, 2 to 64",
}
"""What a pattern allows, by the key that has it."""

_Say = Callable[[Mapping[str, Any], object], str]
_WORDS: dict[str, _Say] = {
    "missing": lambda _, value: "is missing",
    "literal_error": lambda context, value: f"{value!r} is not allowed: use {context['expected']}",
    "greater_than_equal": lambda context, value: f"{value} is too small: use {context['ge']} or more",
    "less_than_equal": lambda context, value: f"{value} is too large: use {context['le']} or less",
    "value_error": lambda context, value: str(context["error"]),
    "string_too_short": lambda context, value: (
        f"{value!r} is too short: use {context['min_length']} or more characters"
    ),
    "string_too_long": lambda context, value: (
        f"{value!r} is too long: use {context['max_length']} characters at most"
    ),
}
_TYPES = {
    "int": "a whole number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping of names to values",
    "model": "a mapping of names to values",
}
"""By the first word of pydantic's error type, such as `int_parsing`."""


def in_words(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """Each mistake as (configuration key, `azpg:KEY.PART: what is wrong`), in the order of the fields."""
    return [
        (str(found["loc"][0]), f"azpg:{_path(found['loc'])}: {_say(found, model)}")
        for found in error.errors()
    ]


def _path(location: tuple[int | str, ...]) -> str:
    first, *rest = location
    return str(first) + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)


def _say(found: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value = found["type"], found["input"]
    if kind == "string_pattern_mismatch":
        key = next(part for part in reversed(found["loc"]) if isinstance(part, str))
        return f"{value!r} is not allowed: use {PATTERNS[key]}"
    if kind == "extra_forbidden":
        owner = _owner(model, found["loc"][:-1])
        known = sorted(field.alias or name for name, field in owner.__pydantic_fields__.items())
        return f"is unknown: use {', '.join(known)}"
    if kind in _WORDS:
        return _WORDS[kind](found.get("ctx", {}), value)
    return f"{value!r} is not {_TYPES[kind.split('_')[0]]}"


def _owner(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The settings class that a path of keys and positions leads to."""
    for part in location:
        if isinstance(part, int):
            continue
        for name, field in model.__pydantic_fields__.items():
            if part == (field.alias or name):
                model = _model_in(field.annotation) or model
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
