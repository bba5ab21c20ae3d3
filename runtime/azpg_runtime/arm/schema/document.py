"""Validators of request bodies, and the words for what is wrong with one."""

from __future__ import annotations

import types
from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin

from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict, is_typeddict

from azpg_runtime.arm.schema.fields import fields_of, is_model
from azpg_runtime.arm.state import Json
from azpg_runtime.errors import ArmRefusal

Verb = Literal["create", "update"]
_SHOWN = 60
_EXACT = 2**53 - 1
"""Up to which a double holds every whole number."""


def check(model: type, body: Any, verb: Verb) -> Json:
    """A request's body without what is read-only or null; enumerations in their own spelling.

    Of an update, a null member of a mapping of models stays: it says which one to take away.

    Args:
        model: of any style that `fields` reads.
        body: parsed JSON.
        verb: what the request does.

    Raises:
        ArmRefusal: everything that is wrong with it, in one 400.
    """
    if not isinstance(body, dict):
        raise ArmRefusal(400, "InvalidRequestContent", "The request content is not a JSON object.")
    try:
        checked: Json = _adapter(model, verb).validate_python(body)
    except ValidationError as error:
        complaints = [_complaint(one, model) for one in error.errors(include_url=False, include_context=True)]
        raise ArmRefusal(
            400, "InvalidRequestContent", "The request content was invalid: " + "; ".join(complaints) + "."
        ) from None
    return checked


def hidden(model: type) -> frozenset[str]:
    """The fields of a model that no answer holds."""
    return frozenset(name for name, field in fields_of(model).items() if not field.read)


@cache
def _adapter(model: type, verb: Verb) -> TypeAdapter[Any]:
    return TypeAdapter(_document(model, verb))


@cache
def _document(model: type, verb: Verb) -> Any:
    """A model as a type that pydantic validates strictly."""
    fields = fields_of(model)
    writable = {name: field for name, field in fields.items() if getattr(field, verb)}
    types_ = {}
    for name, field in writable.items():
        type_ = _strict(field.hint, verb)
        types_[name] = Required[type_] if field.required and verb == "create" else type_
    make: Any = TypedDict  # checkers know it only with names that stand in the source
    made = make(model.__name__, types_, total=False)
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return Annotated[made, BeforeValidator(_dropping(frozenset(fields.keys() - writable.keys())))]


def _dropping(names: frozenset[str]) -> Callable[[Any], Any]:
    def drop(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: one for name, one in value.items() if name not in names and one is not None}

    return drop


def _strict(hint: Any, verb: Verb) -> Any:
    """A type in which nothing is converted but whole numbers that are written with a fraction."""
    inner = get_args(hint)
    match get_origin(hint):
        case origin if origin is Annotated:
            found: Any = Annotated[(_strict(inner[0], verb), *inner[1:])]
        case origin if origin in {Union, types.UnionType}:
            found = _strict(_chosen(inner), verb)
        case origin if origin is Literal:
            found = _words(inner)
        case origin if origin is list:
            found = list[_strict(inner[0], verb)]  # type: ignore[misc]
        case origin if origin is dict:
            found = _mapping(inner[1], verb)
        case _:
            found = _single(hint, verb)
    return found


def _mapping(hint: Any, verb: Verb) -> Any:
    """Members by name. One that is null is none; where models are updated, it says which to take away."""
    members = _strict(hint, verb)
    if not _has_fields(_plain(hint)):
        return dict[str, members]  # type: ignore[valid-type]
    if verb == "update":
        return dict[str, members | None]  # type: ignore[valid-type]
    return Annotated[dict[str, members], BeforeValidator(_dropping(frozenset()))]  # type: ignore[valid-type]


def _chosen(alternatives: tuple[Any, ...]) -> Any:
    """Which of the types of a union holds: an enumeration, rather than any text, and never None."""
    there = [one for one in alternatives if one is not type(None)]
    return next((one for one in there if _is_enum(one)), there[0])


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _single(hint: Any, verb: Verb) -> Any:
    """A type without others in it."""
    if _has_fields(hint):
        return _document(hint, verb)
    if _is_enum(hint):
        return _words(tuple(one.value for one in hint))
    if hint in {int, float}:
        return Annotated[hint, BeforeValidator(_whole if hint is int else _fraction)]
    strict = {datetime: str, str: str, bool: bool}
    return Annotated[strict[hint], Strict()] if hint in strict else hint


def _words(words: tuple[str, ...]) -> Any:
    """One of some words, in any case."""
    spelled = {word.lower(): word for word in words}

    def match(value: Any) -> Any:
        return spelled.get(value.lower(), value) if isinstance(value, str) else value

    return Annotated[Literal[words], BeforeValidator(match)]


def _whole(value: Any) -> Any:
    _check_number(value)
    if isinstance(value, float) and abs(value) > _EXACT:
        raise ValueError(f"{value!r} is not exact; write it without a fraction and an exponent")
    return value


def _fraction(value: Any) -> Any:
    _check_number(value)
    if isinstance(value, int) and abs(value) > _EXACT:
        raise ValueError(f"{_shown(value)} is not exact here; use at most {_EXACT}")
    return value


def _check_number(value: Any) -> None:
    if isinstance(value, bool | str):
        raise ValueError(f"{value!r} is not a number")


def _complaint(error: ErrorDetails, model: type) -> str:
    where = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            known = _names_at(model, error["loc"][:-1])
            near = get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.5)
            meant = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(sorted(known))}"
            return f"could not find member '{where}'; {meant}"
        case "missing":
            return f"'{where}' is required"
        case "literal_error":
            allowed = str(error["ctx"]["expected"]).replace("'", "")
            return f"'{where}' is {_shown(error['input'])}; allowed are {allowed}"
        case _:
            said = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
            return f"'{where}': {said}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _names_at(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """The names that are known at a place in a body."""
    here = _plain(model)
    for part in path:
        inside = fields_of(here)[str(part)].hint if _has_fields(here) else get_args(here)[-1]
        here = _plain(inside)
    return list(fields_of(here)) if _has_fields(here) else []


def _has_fields(hint: Any) -> bool:
    return is_model(hint) or is_typeddict(hint)


def _plain(hint: Any) -> Any:
    """A type without what is written around it."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if get_origin(hint) in {Union, types.UnionType}:
        return _plain(_chosen(get_args(hint)))
    return hint
