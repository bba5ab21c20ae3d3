"""Values between protobuf and Python."""

from __future__ import annotations

from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from azpg_runtime.errors import PulumiError
from azpg_runtime.pulumi.kind import UNKNOWN, Json

LARGEST = 2**53 - 1
"""Of the whole numbers that a double holds without being another one, too: those of a struct are doubles."""

_SHOWN = 40


def to_python(struct: Struct) -> Json:
    """A protobuf struct's content; whole numbers become int.

    Raises `PulumiError` for a number that may have been another one.
    """
    return _members(struct, "")


def to_struct(content: Json) -> Struct:
    """JSON values as a protobuf struct. Raises `PulumiError` for a number that would become another one."""
    _check(content, "")
    struct = Struct()
    struct.update({key: value for key, value in content.items() if value is not None})
    return struct


def has_unknown(value: Any) -> bool:
    """Whether a preview does not know all of it yet."""
    if isinstance(value, dict):
        return any(has_unknown(one) for one in value.values())
    if isinstance(value, list):
        return any(has_unknown(one) for one in value)
    return bool(value == UNKNOWN)


def over(old: Json, new: Json) -> Json:
    """`old` with what `new` has; what only `old` has inside an object stays, too.

    So a preview keeps what Azure computed there, such as the principal of a server's identity.
    """
    result = dict(old)
    for key, value in new.items():
        before = old.get(key)
        inside = isinstance(before, dict) and isinstance(value, dict)
        result[key] = over(before or {}, value) if inside else value
    return result


def _members(struct: Struct, path: str) -> Json:
    return {name: _read(one, f"{path}.{name}".lstrip(".")) for name, one in struct.fields.items()}


def _read(value: Value, path: str) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _members(value.struct_value, path)
        case "list_value":
            return [_read(one, f"{path}[{number}]") for number, one in enumerate(value.list_value.values)]
        case "number_value":
            number = value.number_value
            _check(number, path)
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


def _check(value: Any, path: str) -> None:
    """Raises `PulumiError` for numbers in `value` that Pulumi cannot tell from their neighbours."""
    if isinstance(value, dict):
        for name, one in value.items():
            _check(one, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            _check(one, f"{path}[{number}]")
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise PulumiError(
            f"{path} is {str(value)[:_SHOWN]}, which is not exact in Pulumi",
            detail=f"Its numbers are exact from -{LARGEST} to {LARGEST}.",
            hint="Use a smaller number or, where the type allows it, a text.",
        )
