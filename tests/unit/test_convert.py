"""A BERT model in safetensors becomes a fused graph, and what is no such model is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models import ModelStore, StoredModel

from . import tiny

ROWS = tiny.tokenizer().get_vocab_size(with_added_tokens=True)
TEXTS = ["the passage", "query: a", "", "日本語 ab" * 20]
CONTRIB = {"Attention": tiny.LAYERS, "SkipLayerNormalization": 2 * tiny.LAYERS, "BiasGelu": tiny.LAYERS}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def changed(name: str, value: object) -> dict[str, bytes]:
    """The tiny model's files with one of them replaced by JSON."""
    return {**tiny.files(), name: json.dumps(value).encode()}


def test_the_graph_is_fused(store: ModelStore, tmp_path: Path) -> None:
    model = store.add("tiny", tiny.write(tmp_path / "source"))
    graph = onnx.load(model.onnx, load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    assert {kind: kinds.count(kind) for kind in CONTRIB} == CONTRIB
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.output] == ["embedding"]
    assert model.onnx.stat().st_size < 20_000
    onnx.checker.check_model(str(model.onnx))


def test_minilm_is_fused(minilm: StoredModel) -> None:
    graph = onnx.load(minilm.onnx, load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    assert [kinds.count(kind) for kind in CONTRIB] == [6, 12, 6]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_the_definition(store: ModelStore, tmp_path: Path, pooling: str) -> None:
    mode = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    model = store.add("tiny", tiny.write(tmp_path / "source", changed("1_Pooling/config.json", mode)))
    assert model.description.pooling == pooling
    embedder = Embedder(model)
    expected = [
        tiny.reference(tiny.weights(ROWS), ids, pooling=pooling) for ids in embedder.tokenizer.encode(TEXTS)
    ]
    assert np.abs(embedder.embed(TEXTS) - np.array(expected)).max() < 1e-5


def test_without_normalisation(store: ModelStore, tmp_path: Path) -> None:
    modules = json.loads(tiny.files()["modules.json"])
    model = store.add("tiny", tiny.write(tmp_path / "source", changed("modules.json", modules[:2])))
    assert not model.description.normalize
    embedder = Embedder(model)
    expected = [
        tiny.reference(tiny.weights(ROWS), ids, normalize=False) for ids in embedder.tokenizer.encode(TEXTS)
    ]
    assert np.abs(embedder.embed(TEXTS) - np.array(expected)).max() < 1e-5


def test_weights_of_a_larger_model(store: ModelStore, tmp_path: Path) -> None:
    """A BertModel inside another one has a prefix before its names."""
    tensors = {f"bert.{name}": values for name, values in tiny.weights(ROWS).items()}
    tensors["cls.predictions.bias"] = np.zeros(3, np.float32)
    files = {**tiny.files(), "model.safetensors": tiny.safetensors(tensors)}
    inner = Embedder(store.add("inner", tiny.write(tmp_path / "inner", files))).embed(TEXTS)
    plain = Embedder(store.add("plain", tiny.write(tmp_path / "plain"))).embed(TEXTS)
    assert (inner == plain).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type 'roberta' is not supported"),
        ({"model_type": None}, "model_type None"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "decoder"),
        ({"num_attention_heads": 5}, "cannot be shared by 5 heads"),
        ({"num_attention_heads": "4"}, "'num_attention_heads' is '4'"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps"),
        ({"hidden_size": 64}, "has shape"),
        ({"num_hidden_layers": 3}, r"no tensor 'encoder\.layer\.2\."),
    ],
)
def test_configurations_that_are_not_supported(
    store: ModelStore, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelInvalid, match=message) as caught:
        store.add("tiny", tiny.write(tmp_path / "source", changed("config.json", tiny.config(**change))))
    assert caught.value.sqlstate == "22023"


def test_heads_change_the_digest(store: ModelStore, tmp_path: Path) -> None:
    """The weights do not show how many heads there are, the vectors do."""
    four = store.add("four", tiny.write(tmp_path / "four"))
    config = tiny.config(num_attention_heads=2, transformers_version="5")
    two = store.add("two", tiny.write(tmp_path / "two", changed("config.json", config)))
    assert four.digest != two.digest
    same = tiny.write(tmp_path / "same", changed("config.json", tiny.config(transformers_version="5")))
    assert store.add("same", same).digest == four.digest


def test_longer_texts_than_positions(store: ModelStore, tmp_path: Path) -> None:
    files = changed("sentence_bert_config.json", {"max_seq_length": tiny.POSITIONS + 1})
    with pytest.raises(ModelInvalid, match="41 tokens do not fit a model with 40 positions"):
        store.add("tiny", tiny.write(tmp_path / "source", files))


def test_a_tokenizer_of_another_model(store: ModelStore, tmp_path: Path, minilm: StoredModel) -> None:
    files = {**tiny.files(), "tokenizer.json": minilm.tokenizer.read_bytes()}
    with pytest.raises(ModelInvalid, match="the tokenizer does not fit the model") as caught:
        store.add("tiny", tiny.write(tmp_path / "source", files))
    assert f"ids up to 30521, the model knows those below {ROWS}" in caught.value.detail


def test_folders_without_a_model(store: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="no such file or folder") as caught:
        store.add("tiny", tmp_path / "absent")
    assert caught.value.sqlstate == "58P01"
    with pytest.raises(ModelInvalid, match="holds no model"):
        store.add("tiny", tmp_path)
    files = tiny.files()
    del files["tokenizer.json"]
    with pytest.raises(ModelUnreadable, match=r"tokenizer\.json"):
        store.add("tiny", tiny.write(tmp_path / "source", files))
