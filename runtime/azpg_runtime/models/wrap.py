"""An encoder that is ONNX already: checked, and given pooling and normalisation where it has none."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import TensorProto

from azpg_runtime.errors import ModelInvalid, ModelUnreadable, OutOfMemory
from azpg_runtime.models.description import MODEL, FileDigest, Pooling
from azpg_runtime.models.execution import (
    Ids,
    check_inputs,
    feeds,
    first_line,
    input_types,
    open_session,
    out_of_memory,
    usable_cpus,
)
from azpg_runtime.models.foreign_folder import ForeignFile
from azpg_runtime.models.graph import OUTPUT, WEIGHTS, Graph, WeightsFile
from azpg_runtime.models.recipe import Recipe
from azpg_runtime.models.sources import copy_parts, digest_file, read_file

_LARGE = 1024  # bytes from which a weight goes to the weights file, where it is mapped
_LARGEST_GRAPH = (1 << 31) - 1  # the format's own limit
_POOLED_NAMES = ("sentence_embedding", "sentence_embeddings", "text_embeds", "embeddings", OUTPUT)
_TRIAL_THREADS = 4
_TOKEN_NAMES = ("last_hidden_state", "token_embeddings")
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True, slots=True)
class Wrapped:
    """What was added to a brought graph; pooling is 'none' if it had its own."""

    pooling: Pooling
    normalize: bool


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """A brought graph, and the files its weights lie in, by the names the graph uses.

    Attributes:
        digests: size and SHA-256 of the graph and of each external file.
        parts: the places [begin, end) of each external file that the graph's tensors name.
    """

    name: str
    model: onnx.ModelProto
    external: dict[str, ForeignFile]
    digests: dict[str, FileDigest]
    parts: dict[str, list[tuple[int, int]]]


def read_onnx(file: ForeignFile) -> OnnxSource:
    """Reads a graph, and looks at its external weights.

    Raises `ModelUnreadable` for a file that cannot be read, its external ones included, and `ModelInvalid`
    for one that is no ONNX model or names files, or parts of files, that are not in its own folder.
    """
    raw = read_file(file, limit=_LARGEST_GRAPH)
    try:
        model = onnx.load_model_from_string(raw)
    except (DecodeError, ValueError):
        model = onnx.ModelProto()
    if model.ir_version < 1 or not model.opset_import or not model.graph.node:
        raise ModelInvalid(
            f"{file.name} is not an ONNX model",
            hint="Export the encoder to ONNX, or add a folder with model.safetensors and config.json.",
        )
    external: dict[str, ForeignFile] = {}
    digests = {file.name: FileDigest(len(raw), hashlib.sha256(raw).hexdigest())}
    parts: dict[str, list[tuple[int, int]]] = {}
    for tensor in _external_tensors(model):
        fields = _external_fields(tensor)
        name = fields["location"]
        if name not in external:
            external[name] = _inside(file, name)
            digests[name] = digest_file(external[name])
        parts.setdefault(name, []).append(_part(tensor, fields, digests[name].size))
    return OnnxSource(file.name, model, external, digests, parts)


def _inside(graph: ForeignFile, name: str) -> ForeignFile:
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts:
        raise ModelInvalid(f"the model keeps weights in {name!r}, which is outside its folder")
    file = graph.beside(name)
    if not file.exists():
        raise ModelUnreadable(f"could not read {file.path}: the model keeps weights in it, and it is no file")
    return file


def _part(tensor: TensorProto, fields: dict[str, str], size: int) -> tuple[int, int]:
    """Where a tensor's data lie in a file of `size` bytes; by default they reach to its end."""

    def number(key: str, default: int) -> int:
        text = fields.get(key, str(default))
        if not re.fullmatch("[0-9]{1,18}", text):
            raise ModelInvalid(
                f"tensor {tensor.name!r}: its data's {key!r} is {text[:40]!r}, not a number of bytes"
            )
        return int(text)

    begin = number("offset", 0)
    length = number("length", max(0, size - begin))
    needed = _bytes(tensor)
    if needed is not None:
        if "length" in fields and length != needed:
            raise ModelInvalid(f"tensor {tensor.name!r} has {length} bytes of data, and needs {needed}")
        length = needed
    if begin + length > size:
        raise ModelInvalid(
            f"tensor {tensor.name!r} lies beyond the end of {fields['location']!r}",
            detail=f"Its bytes are {begin} to {begin + length} of {size}.",
        )
    return begin, begin + length


def _bytes(tensor: TensorProto) -> int | None:
    """How many bytes a tensor's type and shape make; None for types of less than a byte, and unknown ones."""
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError):
        return None
    if "int4" in kind.name or "float4" in kind.name or "int2" in kind.name or kind.name == "object":
        return None
    return math.prod(tensor.dims) * kind.itemsize


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _tensors(graph)


def _external_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from (tensor for tensor in _tensors(model.graph) if tensor.data_location == TensorProto.EXTERNAL)
    for function in model.functions:
        for tensor in _node_tensors(function.node):
            if tensor.data_location == TensorProto.EXTERNAL:
                yield tensor


def _external_fields(tensor: TensorProto) -> dict[str, str]:
    fields: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in fields:
            raise ModelInvalid(f"tensor {tensor.name!r} names the {entry.key!r} of its data twice")
        fields[entry.key] = entry.value
    return {"location": "", **fields}


def wrap_onnx(source: OnnxSource, recipe: Recipe, target: Path) -> Wrapped:
    """Writes model.onnx and its weights into the folder `target`.

    Afterwards the graph has one output, float32 [n, D]: the brought graph's own sentence vector if it has
    one, otherwise its token vectors pooled and normalised as `recipe` says.

    Raises `ModelInvalid` for a graph that is no text encoder.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    constants = {tensor.name for tensor in model.graph.initializer}
    check_inputs({value.name for value in model.graph.input} - constants)
    value, rank = _choose(model.graph)
    grown = Graph(prefix="azpg/")
    pooling: Pooling = "none"
    normalize = False
    vector = value.name
    if value.type.tensor_type.elem_type not in {TensorProto.FLOAT, TensorProto.UNDEFINED}:
        vector = grown.node("Cast", [vector], "float", to=TensorProto.FLOAT)
    if rank == 3:
        pooling, normalize = recipe.pooling, recipe.normalize
        mask = "attention_mask"
        vector = grown.pool(vector, mask, pooling=pooling, normalize=normalize)
    _finish(model, grown, vector)
    _save(model, source, target)
    return Wrapped(pooling, normalize)


def _choose(graph: onnx.GraphProto) -> tuple[onnx.ValueInfoProto, int]:
    """The output that vectors come from, and its rank: 2 if it is pooled already, 3 if not."""
    outputs = {value.name: value for value in graph.output}
    for names, rank in ((_POOLED_NAMES, 2), (_TOKEN_NAMES, 3)):
        for name in names:
            if name in outputs and _rank(outputs[name]) in {rank, None}:
                return outputs[name], rank
    floats = [
        value
        for value in graph.output
        if value.type.tensor_type.elem_type in _FLOATS and _rank(value) in {2, 3}
    ]
    if len(floats) != 1:
        raise ModelInvalid(
            "the model has no output that is known to be an embedding",
            detail=f"Its outputs are {', '.join(sorted(outputs)) or 'none'}.",
            hint=f"Name the pooled output {_POOLED_NAMES[0]}, or the token vectors {_TOKEN_NAMES[0]}.",
        )
    return floats[0], _rank(floats[0]) or 0


def _rank(value: onnx.ValueInfoProto) -> int | None:
    tensor = value.type.tensor_type
    return len(tensor.shape.dim) if tensor.HasField("shape") else None


def _finish(model: onnx.ModelProto, grown: Graph, vector: str) -> None:
    """Adds what was grown and makes `vector` the one output."""
    graph = model.graph
    taken = {name for node in graph.node for name in node.output}
    name = OUTPUT if OUTPUT not in taken else f"azpg/{OUTPUT}"
    if vector != name:
        grown.nodes.append(onnx.helper.make_node("Identity", [vector], [name], name="azpg/output"))
    graph.node.extend(grown.nodes)
    graph.initializer.extend(grown.initializers)
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["texts", "dimensions"]))


def _save(model: onnx.ModelProto, source: OnnxSource, target: Path) -> None:
    """Large weights go to one file that is mapped; external ones are copied as they are."""
    renamed = {name: f"external-{index}.bin" for index, name in enumerate(sorted(source.external))}
    for name, new in renamed.items():
        if copy_parts(source.external[name], source.parts[name], target / new) != source.digests[name]:
            raise ModelInvalid(f"{name} changed while it was being added")
    for tensor in _external_tensors(model):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = renamed[entry.value]
    large = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= _LARGE]
    if large:
        weights = WeightsFile(target / WEIGHTS)
        try:
            for tensor in large:
                placed = weights.add(tensor.name, tensor.data_type, tuple(tensor.dims), tensor.raw_data)
                tensor.CopyFrom(placed)
        finally:
            weights.close()
    try:
        (target / MODEL).write_bytes(model.SerializeToString())
    except ValueError as error:
        raise ModelInvalid(f"{source.name} cannot be written: {error}") from None


def trial(path: Path, *, highest_token: int, max_tokens: int, padding: int) -> int:
    """Runs a graph at its limits: two texts, the highest token id, the longest text; returns its dimensions.

    Raises `ModelInvalid` if it does not give finite vectors.
    """
    session = open_session(path, intra_op_threads=min(_TRIAL_THREADS, usable_cpus()))
    dimensions = _run(session, [np.array([0, 0]), np.array([0])], padding).shape[1]
    try:
        _run(session, [np.array([highest_token, 0]), np.array([highest_token])], padding)
    except ModelInvalid as error:
        raise ModelInvalid(
            "the tokenizer does not fit the model",
            detail=f"It gives token ids up to {highest_token}, with which the model fails: {error.message}.",
            hint="Take model and tokenizer.json from the same place.",
        ) from None
    try:
        _run(session, [np.zeros(max_tokens, np.int64), np.zeros(1, np.int64)], padding)
    except ModelInvalid as error:
        raise ModelInvalid(
            f"the model does not take texts of {max_tokens} tokens",
            detail=f"{error.message}.",
            hint='Say how many it takes in sentence_bert_config.json: {"max_seq_length": N}.',
        ) from None
    return int(dimensions)


def _run(session: onnxruntime.InferenceSession, ids: list[Ids], padding: int) -> npt.NDArray[Any]:
    types = input_types(session)
    try:
        rows = np.asarray(session.run(None, feeds(types, ids, padding))[0])
    except Exception as error:
        if out_of_memory(error):
            raise OutOfMemory("the memory that is allowed does not suffice to try the model") from None
        raise ModelInvalid(f"the model fails on a trial text: {first_line(error)}") from None
    if rows.ndim != 2 or rows.shape[0] != len(ids) or not rows.shape[1]:
        raise ModelInvalid(f"the model gives {list(rows.shape)} for {len(ids)} texts, not one vector each")
    if not np.isfinite(rows).all():
        raise ModelInvalid("the model gives vectors that are not finite")
    return rows
