"""The fields of a model, whichever of three styles it is written in.

The PostgreSQL SDK has typed models whose fields know their visibility, the Cognitive Services SDK has
attribute maps with types as text, and our own models are TypedDicts with `READ` on what is read-only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Required, get_args, get_origin

from typing_extensions import get_type_hints

READ = "read-only"
"""In an `Annotated`: the service says it, so a request's value is dropped."""
_TEXTS = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": float,
    "object": Any,
    "iso-8601": str,
    "duration": str,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model.

    Attributes:
        hint: its type: a Python type, an enumeration, a model, or a list or dict of these.
        required: whether a request that creates the resource must have it.
        create, update: whether such a request may set it; otherwise what it says is dropped.
        read: whether an answer holds it.
    """

    hint: Any
    required: bool = False
    create: bool = True
    update: bool = True
    read: bool = True


def is_model(hint: Any) -> bool:
    """Whether a type is a model of any style."""
    return isinstance(hint, type) and (
        hasattr(hint, "_attribute_map") or hasattr(hint, "_is_model") or hasattr(hint, "__required_keys__")
    )


@cache
def fields_of(model: type) -> dict[str, Field]:
    """A model's fields by the name they have in JSON."""
    if hasattr(model, "_attribute_map"):
        return _mapped(model)
    if hasattr(model, "_is_model"):
        return _typed(model)
    return _own(model)


def _typed(model: Any) -> dict[str, Field]:
    model({})  # the SDK gathers its fields when the first object is made
    module = sys.modules[model.__module__.rsplit(".", 1)[0]]
    hints = get_type_hints(model, localns={"_models": module})
    found = {}
    for name, field in model._attr_to_rest_field.items():
        visibility = field._visibility or ["read", "create", "update"]
        optional = type(None) in get_args(hints[name])
        found[field._rest_name] = Field(
            hints[name],
            required=not optional and "create" in visibility,
            create="create" in visibility,
            update="update" in visibility,
            read="read" in visibility,
        )
    return found


def _mapped(model: Any) -> dict[str, Field]:
    module = sys.modules[model.__module__.rsplit(".", 1)[0]]
    found = {}
    for name, entry in model._attribute_map.items():
        rules = model._validation.get(name, {})
        writable = not rules.get("readonly", False)
        found[entry["key"]] = Field(
            _parsed(entry["type"], module),
            required=bool(rules.get("required", False)),
            create=writable,
            update=writable,
        )
    return found


def _parsed(text: str, module: Any) -> Any:
    if text.startswith("["):
        return list[_parsed(text[1:-1], module)]  # type: ignore[misc]
    if text.startswith("{"):
        return dict[str, _parsed(text[1:-1], module)]  # type: ignore[misc]
    return _TEXTS.get(text) or getattr(module, text)


def _own(model: Any) -> dict[str, Field]:
    found = {}
    for name, hint in get_type_hints(model, include_extras=True).items():
        origin: Any = get_origin(hint)
        required = origin is Required
        inner = get_args(hint)[0] if required else hint
        writable = READ not in getattr(inner, "__metadata__", ())
        found[name] = Field(inner, required=required, create=writable, update=writable)
    return found
