"""A BERT encoder from safetensors to ONNX, with pooling and normalisation inside the graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.description import MODEL
from azpg_runtime.models.graph import INPUTS, WEIGHTS, Graph, WeightsFile, text_model
from azpg_runtime.models.recipe import Recipe
from azpg_runtime.models.safetensors import SafetensorsFile
from azpg_runtime.models.sources import File, read_json, whole_number
from azpg_runtime.models.vocabulary import misfit

_CONTRIB = "com.microsoft"
_PREFIXES = ("", "bert.", "model.", "encoder.model.")


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The shape of a BertModel, from its config.json."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    types: int
    epsilon: float

    @classmethod
    def read(cls, file: File) -> BertConfig:
        """Reads a config.json. Raises `ModelInvalid` for anything that `convert_bert` cannot convert."""
        raw = read_json(file)
        for key, supported in (
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ):
            value = raw.get(key, supported if key != "model_type" else None)
            if value != supported:
                raise ModelInvalid(
                    f"config.json: {key} {value!r} is not supported, {supported!r} is",
                    hint="Export the model to ONNX with its sentence embedding as output, and add that.",
                )
        if raw.get("is_decoder"):
            raise ModelInvalid("config.json: a decoder makes no embeddings of whole texts")

        def number(key: str) -> int:
            return whole_number(raw, key, file.name)

        config = cls(
            vocabulary=number("vocab_size"),
            hidden=number("hidden_size"),
            layers=number("num_hidden_layers"),
            heads=number("num_attention_heads"),
            intermediate=number("intermediate_size"),
            positions=number("max_position_embeddings"),
            types=number("type_vocab_size"),
            epsilon=_epsilon(raw),
        )
        if config.hidden % config.heads:
            raise ModelInvalid(
                f"config.json: {config.hidden} components cannot be shared by {config.heads} heads"
            )
        return config

    @property
    def parameters(self) -> dict[str, float]:
        """What decides the vectors and cannot be seen in the weights."""
        return {"heads": self.heads, "layer_norm_epsilon": self.epsilon}


def _epsilon(raw: dict[str, Any]) -> float:
    value = raw.get("layer_norm_eps", 1e-12)
    if not isinstance(value, float) or not 0 < value < 1:
        raise ModelInvalid(f"config.json: layer_norm_eps is {value!r}, not a small positive number")
    return value


def convert_bert(
    weights: File, config: BertConfig, recipe: Recipe, target: Path, *, highest_token: int
) -> int:
    """Writes model.onnx and weights.bin into the folder `target`; returns the vectors' dimensions.

    Weights go from the mapped source to the target one by one, so that no two copies of all of them are ever
    in memory.

    Raises `ModelInvalid` if the weights are not those of `config`, or if tokens up to `highest_token` or
    texts of `recipe.max_tokens` are beyond the model's tables.
    """
    if recipe.max_tokens > config.positions:
        raise ModelInvalid(
            f"texts of {recipe.max_tokens} tokens do not fit a model with {config.positions} positions"
        )
    if highest_token >= config.vocabulary:
        raise misfit(highest_token, config.vocabulary)
    with SafetensorsFile(weights) as source:
        output = WeightsFile(target / WEIGHTS)
        try:
            model = _Converter(source, config, Graph(weights=output)).model(recipe)
        finally:
            output.close()
    onnx.save(model, target / MODEL)
    return config.hidden


class _Converter:
    """Names as in the source, so that a graph can be read beside the model it came from."""

    def __init__(self, source: SafetensorsFile, config: BertConfig, graph: Graph) -> None:
        self._source = source
        self._config = config
        self._graph = graph
        known = "embeddings.word_embeddings.weight"
        self._prefix = next((prefix for prefix in _PREFIXES if prefix + known in source), "")

    def _read(self, name: str, *shape: int) -> npt.NDArray[np.float32]:
        return self._source.float32(self._prefix + name, shape)

    def _vector(self, name: str, size: int) -> str:
        return self._graph.weight(name, self._read(name, size))

    def _matrix(self, name: str, outputs: int, inputs: int) -> str:
        """A Linear layer's weight, turned round as MatMul wants it."""
        return self._graph.weight(name, self._read(name, outputs, inputs).T)

    def model(self, recipe: Recipe) -> onnx.ModelProto:
        graph = self._graph
        ids, mask = INPUTS
        value = self._embeddings(ids)
        small = graph.node("Cast", [mask], "mask_int32", to=TensorProto.INT32)
        for layer in range(self._config.layers):
            value = self._layer(f"encoder.layer.{layer}.", value, small)
        vector = graph.pool(value, mask, pooling=recipe.pooling, normalize=recipe.normalize)
        return text_model(graph, vector, self._config.hidden)

    def _embeddings(self, ids: str) -> str:
        graph, config = self._graph, self._config
        words = self._read("embeddings.word_embeddings.weight", config.vocabulary, config.hidden)
        positions = self._read("embeddings.position_embeddings.weight", config.positions, config.hidden)
        types = self._read("embeddings.token_type_embeddings.weight", config.types, config.hidden)
        table = graph.weight("embeddings.word_embeddings.weight", words)
        # Every token is of type 0, so that row can be part of each position.
        places = graph.weight("embeddings.positions_and_type", positions + types[0])
        word = graph.node("Gather", [table, ids], "words")
        length = graph.node("Shape", [ids], "length", start=1, end=2)
        place = graph.node("Slice", [places, graph.constant("zero", np.array([0])), length], "places")
        added = graph.node("Add", [word, place], "words_and_places")
        norm = self._norm("embeddings.LayerNorm.")
        return graph.node("LayerNormalization", [added, *norm], "embeddings", axis=-1, epsilon=config.epsilon)

    def _norm(self, prefix: str) -> tuple[str, str]:
        hidden = self._config.hidden
        return self._vector(prefix + "weight", hidden), self._vector(prefix + "bias", hidden)

    def _layer(self, prefix: str, value: str, mask: str) -> str:
        graph, config = self._graph, self._config
        hidden, inner = config.hidden, config.intermediate

        def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
            return graph.node(kind, inputs, prefix + output, **attributes)

        def skip_norm(new: str, old: str, norm: str, bias: str, output: str) -> str:
            inputs = [new, old, *self._norm(prefix + norm), self._vector(prefix + bias, hidden)]
            return node("SkipLayerNormalization", inputs, output, domain=_CONTRIB, epsilon=config.epsilon)

        parts = [f"{prefix}attention.self.{part}." for part in ("query", "key", "value")]
        weight = np.concatenate([self._read(part + "weight", hidden, hidden) for part in parts]).T
        bias = np.concatenate([self._read(part + "bias", hidden) for part in parts])
        inputs = [
            value,
            graph.weight(prefix + "attention.self.weight", weight),
            graph.weight(prefix + "attention.self.bias", bias),
            mask,
        ]
        heads = node("Attention", inputs, "attention", domain=_CONTRIB, num_heads=config.heads)
        dense = self._matrix(prefix + "attention.output.dense.weight", hidden, hidden)
        dense = node("MatMul", [heads, dense], "attention_dense")
        attended = skip_norm(
            dense, value, "attention.output.LayerNorm.", "attention.output.dense.bias", "attended"
        )
        wide = self._matrix(prefix + "intermediate.dense.weight", inner, hidden)
        wide = node("MatMul", [attended, wide], "intermediate")
        gelu = [wide, self._vector(prefix + "intermediate.dense.bias", inner)]
        gelu_out = node("BiasGelu", gelu, "gelu", domain=_CONTRIB)
        narrow = self._matrix(prefix + "output.dense.weight", hidden, inner)
        narrow = node("MatMul", [gelu_out, narrow], "output")
        return skip_norm(narrow, attended, "output.LayerNorm.", "output.dense.bias", "out")
