"""What a model is: the frozen description that is stored beside its files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from azpg_runtime.errors import ModelInvalid

Architecture = Literal["bert", "onnx"]
Pooling = Literal["mean", "cls", "none"]

MODEL = "model.onnx"
"""The file name under which the store keeps every graph."""

TOKENIZER = "tokenizer.json"
"""The file name under which every tokenizer is kept, in sources as well as in the store."""

_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST = 1 << 24


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file's content: its `size` in bytes and its SHA-256 in lower-case hex."""

    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.size < 0 or not _SHA256.fullmatch(self.sha256):
            raise ModelInvalid(f"{self.size} bytes with SHA-256 {self.sha256!r} describe no file")


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a model is and where it came from.

    Attributes:
        name: what its source calls it; a store may know it under other names.
        architecture: 'bert' for a graph made from BERT weights, 'onnx' for a graph that was brought.
        dimensions: components of a vector.
        max_tokens: tokens of a text that count, including the special ones; the rest is cut off.
        pooling: how token vectors become one; 'none' if the brought graph does it by itself.
        normalize: whether vectors are scaled to length 1 by what was added to the graph.
        licence: SPDX identifier, or None if unknown.
        source: where the files came from, for people.
        files: the source's files by name: weights, and `TOKENIZER`.
        parameters: numbers beside the weights that the graph is made with, such as the number of heads.

    Raises `ModelInvalid` for values that describe no model.
    """

    name: str
    architecture: Architecture
    dimensions: int
    max_tokens: int
    pooling: Pooling
    normalize: bool
    licence: str | None
    source: str
    files: Mapping[str, FileDigest]
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in get_args(Architecture):
            raise ModelInvalid(f"architecture {self.architecture!r} is not one of bert, onnx")
        if self.pooling not in get_args(Pooling):
            raise ModelInvalid(f"pooling {self.pooling!r} is not one of mean, cls, none")
        if not 1 <= self.dimensions <= _LARGEST:
            raise ModelInvalid(f"a vector of {self.dimensions} components is not possible")
        if not 1 <= self.max_tokens <= _LARGEST:
            raise ModelInvalid(f"a model for {self.max_tokens} tokens is not possible")
        if TOKENIZER not in self.files or not self.weights:
            raise ModelInvalid(f"a model has weights and {TOKENIZER}, not {sorted(self.files)}")
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    @property
    def weights(self) -> tuple[FileDigest, ...]:
        """The source's weights: every file but JSON."""
        return tuple(self.files[name] for name in sorted(self.files) if not name.endswith(".json"))

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides the vectors, and nothing else.

        Weights, tokenizer, max_tokens, pooling, normalize and parameters count; name, licence, source and the
        converter do not: the same model converted by a later azpg keeps its digest.
        """
        deciding = {
            "weights": sorted(weights.sha256 for weights in self.weights),
            "tokenizer": self.files[TOKENIZER].sha256,
            "max_tokens": self.max_tokens,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "parameters": {key: float(value) for key, value in self.parameters.items()},
        }
        canonical = json.dumps(deciding, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> str:
        """The description as indented JSON, with a line feed at its end."""
        return (
            json.dumps(
                {
                    "version": _VERSION,
                    "digest": self.digest,
                    "name": self.name,
                    "architecture": self.architecture,
                    "dimensions": self.dimensions,
                    "max_tokens": self.max_tokens,
                    "pooling": self.pooling,
                    "normalize": self.normalize,
                    "licence": self.licence,
                    "source": self.source,
                    "files": {
                        name: {"size": file.size, "sha256": file.sha256}
                        for name, file in sorted(self.files.items())
                    },
                    "parameters": dict(sorted(self.parameters.items())),
                },
                indent=2,
            )
            + "\n"
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelDescription:
        """The reverse of `to_json`.

        Raises `ModelInvalid` for anything else, also for a digest that is not that of the content.
        """
        try:
            raw: object = json.loads(text)
        except ValueError as error:
            raise ModelInvalid(f"the model description is not JSON: {error}") from None
        if not isinstance(raw, dict):
            raise ModelInvalid("the model description is not a JSON object")
        if raw.get("version") != _VERSION:
            raise ModelInvalid(
                f"the model description has version {raw.get('version')!r}, this azpg reads {_VERSION}",
                hint="Use the azpg that wrote it, or add the model again.",
            )
        files = {
            name: FileDigest(_field(entry, "size", int), _field(entry, "sha256", str))
            for name, entry in _field(raw, "files", dict).items()
        }
        parameters = _field(raw, "parameters", dict)
        for key, value in parameters.items():
            if type(value) not in {int, float}:
                raise ModelInvalid(f"the model description's parameter {key!r} is no number")
        description = cls(
            name=_field(raw, "name", str),
            architecture=cast(Architecture, _field(raw, "architecture", str)),
            dimensions=_field(raw, "dimensions", int),
            max_tokens=_field(raw, "max_tokens", int),
            pooling=cast(Pooling, _field(raw, "pooling", str)),
            normalize=_field(raw, "normalize", bool),
            licence=None if raw.get("licence") is None else _field(raw, "licence", str),
            source=_field(raw, "source", str),
            files=files,
            parameters=parameters,
        )
        if raw.get("digest") != description.digest:
            raise ModelInvalid(
                "the model description's digest is not that of its content",
                detail=f"It says {raw.get('digest')!r}, the content has {description.digest!r}.",
            )
        return description


def _field(container: object, key: str, kind: type) -> Any:
    if not isinstance(container, dict):
        raise ModelInvalid("the model description has a value where an object belongs")
    value = container.get(key)
    if type(value) is not kind:  # exactly: True is no number
        raise ModelInvalid(f"the model description's {key!r} is {value!r}, not a {kind.__name__}")
    return value
