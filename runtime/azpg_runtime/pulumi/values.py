"""Values between protobuf and Python."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from azpg_runtime.pulumi.kind import UNKNOWN, Json


def to_python(struct: Struct) -> Json:
    """A protobuf struct's content; whole numbers become int."""
    content = _whole(json_format.MessageToDict(struct))
    assert isinstance(content, dict)
    return content


def to_struct(content: Json) -> Struct:
    """JSON values as a protobuf struct."""
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


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value
