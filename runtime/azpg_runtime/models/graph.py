"""Building an ONNX graph whose weights lie in a file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from azpg_runtime.models.description import Pooling

WEIGHTS = "weights.bin"
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "embedding"

_OPSET = 17
_IR = 8
_PAGE = 4096  # external data that begins at a page is mapped, not read
_NORM_FLOOR = 1e-12  # as in sentence-transformers: a vector of zeros stays one


class WeightsFile:
    """Appends tensors to one file, each at the beginning of a page."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._name = path.name

    def add(self, name: str, kind: int, shape: tuple[int, ...], data: memoryview | bytes) -> TensorProto:
        """Writes raw little-endian `data` and returns the tensor that points at it."""
        self._file.write(bytes(-self._file.tell() % _PAGE))
        begin = self._file.tell()
        self._file.write(data)
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        point_at(tensor, location=self._name, offset=begin, length=self._file.tell() - begin)
        return tensor

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def point_at(tensor: TensorProto, *, location: str, offset: int, length: int) -> None:
    """Makes `tensor`'s data those bytes of the file `location` beside the graph."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


class Graph:
    """Nodes and initialisers in the making; every method returns the name of the value it makes.

    Args:
        prefix: begins the name of every value, so that a graph can be grown onto another one.
        weights: where float weights go; without it, only `constant` may be used.
    """

    def __init__(self, *, prefix: str = "", weights: WeightsFile | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._prefix = prefix
        self._weights = weights

    def weight(self, name: str, values: npt.NDArray[np.float32]) -> str:
        """A float32 initialiser in the weights file."""
        assert self._weights is not None
        values = np.ascontiguousarray(values, dtype="<f4")
        tensor = self._weights.add(
            self._prefix + name, TensorProto.FLOAT, values.shape, values.data.cast("B")
        )
        self.initializers.append(tensor)
        return tensor.name

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """A small initialiser in the graph itself."""
        tensor = onnx.numpy_helper.from_array(values, self._prefix + name)
        self.initializers.append(tensor)
        return tensor.name

    def node(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        """One operator with one output."""
        name = self._prefix + output
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def pool(self, tokens: str, mask: str, *, pooling: Pooling, normalize: bool) -> str:
        """One vector [n, D] for each text, from token vectors [n, L, D] and an int64 mask [n, L]."""
        if pooling == "cls":
            vector = self.node("Gather", [tokens, self.constant("first", np.array(0))], "pooled", axis=1)
        else:
            # A product of [n, 1, L] and [n, L, D] sums without a copy of the token vectors.
            axis = self.constant("axis", np.array([1]))
            weights = self.node("Cast", [mask], "mask_float", to=TensorProto.FLOAT)
            count = self.node("ReduceSum", [weights, axis], "count", keepdims=1)
            row = self.node("Unsqueeze", [weights, axis], "mask_row")
            total = self.node("Squeeze", [self.node("MatMul", [row, tokens], "sums"), axis], "sum")
            vector = self.node("Div", [total, count], "pooled")
        if not normalize:
            return vector
        norm = self.node("ReduceL2", [vector], "norm", axes=[-1], keepdims=1)
        floor = self.constant("norm_floor", np.array(_NORM_FLOOR, np.float32))
        return self.node("Div", [vector, self.node("Max", [norm, floor], "norm_safe")], "normalized")


def text_model(graph: Graph, vector: str, dimensions: int) -> onnx.ModelProto:
    """A model from `INPUTS`, int64 [n, L], to `OUTPUT`, float32 [n, dimensions], which is `vector`."""
    graph.nodes.append(helper.make_node("Identity", [vector], [OUTPUT], name=OUTPUT))
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"]) for name in INPUTS]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["texts", dimensions])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "azpg", inputs, [output], graph.initializers),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)],
        producer_name="azpg",
    )
    model.ir_version = _IR
    return model
