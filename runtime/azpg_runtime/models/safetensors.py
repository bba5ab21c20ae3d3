"""Reading a safetensors file: a checked header, and its tensors as views of the mapped file."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models.sources import File, open_file

_LENGTH = 8
_LARGEST_HEADER = 100_000_000  # the format's own limit
_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: element type as in the file, shape, and bytes [begin, end) of the file."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """A safetensors file, open until `close` or the end of its `with`.

    Every offset is checked against the file's size before anything is read.

    Raises `ModelUnreadable` if the file cannot be read and `ModelInvalid` if it is not safetensors.
    """

    def __init__(self, file: File) -> None:
        self._name = file.name
        try:
            with open_file(file) as opened:
                self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise self._invalid("it is empty") from None
        except OSError as error:
            raise ModelUnreadable(f"could not read {file.name}: {error.strerror or error}") from None
        try:
            self._tensors = self._parse()
        except BaseException:
            self._map.close()
            raise

    def _invalid(self, reason: str) -> ModelInvalid:
        return ModelInvalid(f"{self._name} is not a safetensors file: {reason}")

    def _parse(self) -> dict[str, Tensor]:
        size = len(self._map)
        if size < _LENGTH:
            raise self._invalid(f"it has {size} bytes")
        length = int.from_bytes(self._map[:_LENGTH], "little")
        data = _LENGTH + length
        if length > _LARGEST_HEADER or data > size:
            raise self._invalid(f"its header would be {length} bytes of {size}")
        try:
            header = json.loads(self._map[_LENGTH:data])
        except (ValueError, RecursionError):
            raise self._invalid("its header is not JSON") from None
        if not isinstance(header, dict):
            raise self._invalid("its header is not a JSON object")
        tensors = {
            name: self._entry(name, entry, data, size)
            for name, entry in header.items()
            if name != "__metadata__"
        }
        at = data
        for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.begin, tensor.end)):
            if tensor.begin < at:
                raise self._invalid("its tensors overlap")
            at = tensor.end
        return tensors

    def _entry(self, name: str, entry: object, data: int, size: int) -> Tensor:
        if not isinstance(entry, dict):
            raise self._invalid(f"tensor {name!r} has no description")
        kind = entry.get("dtype")
        shape, offsets = _naturals(entry.get("shape")), _naturals(entry.get("data_offsets"))
        if not isinstance(kind, str) or kind not in _SIZES:
            raise self._invalid(f"tensor {name!r} has type {kind!r}")
        if shape is None or offsets is None or len(offsets) != 2:
            raise self._invalid(f"tensor {name!r} has no shape or no place")
        begin, end = offsets
        if begin > end or data + end > size or end - begin != math.prod(shape) * _SIZES[kind]:
            raise self._invalid(
                f"tensor {name!r} of {kind} and shape {shape} cannot be bytes {begin} to {end} "
                f"of {size - data}"
            )
        return Tensor(kind, tuple(shape), data + begin, data + end)

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; arrays from `float32` that are views keep it mapped until they are gone."""
        with suppress(BufferError):  # of a view that is still alive
            self._map.close()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def tensor(self, name: str) -> Tensor:
        """Where a tensor lies. Raises `ModelInvalid` naming the tensor that is missing."""
        try:
            return self._tensors[name]
        except KeyError:
            raise ModelInvalid(f"{self._name} has no tensor {name!r}") from None

    def float32(self, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """A tensor's values; a read-only view of the file if it holds float32 itself.

        Raises `ModelInvalid` if it is missing, of another shape, or holds no floats.
        """
        found = self.tensor(name)
        if found.shape != shape:
            raise ModelInvalid(
                f"{self._name}: tensor {name!r} has shape {list(found.shape)}, not {list(shape)}"
            )
        count = math.prod(shape)
        if found.kind == "F32":
            flat = np.frombuffer(self._map, "<f4", count, found.begin)
        elif found.kind == "F16":
            flat = np.frombuffer(self._map, "<f2", count, found.begin).astype(np.float32)
        elif found.kind == "BF16":
            wide = np.frombuffer(self._map, "<u2", count, found.begin).astype(np.uint32) << 16
            flat = wide.view(np.float32)
        else:
            raise ModelInvalid(f"{self._name}: tensor {name!r} holds {found.kind}, not floats")
        return flat.reshape(shape)


def _naturals(value: object) -> list[int] | None:
    if isinstance(value, list) and all(type(item) is int and item >= 0 for item in value):
        return value
    return None
