"""Graphs that are ONNX already are taken as they are, pooled where they are not, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models import ModelStore

from . import tiny

ROWS = tiny.tokenizer().get_vocab_size(with_added_tokens=True)
TEXTS = ["the passage", "query: a", "", "日本語 ab" * 20]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def encoder(
    *,
    output: str = "last_hidden_state",
    rows: int = ROWS,
    types: bool = False,
    integers: int = TensorProto.INT64,
    extra: str | None = None,
    mask: bool = True,
    pooled: bool = False,
    half: bool = False,
    texts: int | str = "n",
) -> onnx.ModelProto:
    """A graph that looks tokens up in a table, and perhaps adds their type's row."""
    table = np.random.default_rng(5).normal(size=(rows, 16)).astype(np.float32)
    names = ["input_ids", *(["attention_mask"] if mask else []), *(["token_type_ids"] if types else [])]
    names += [extra] if extra else []
    inputs = [helper.make_tensor_value_info(name, integers, [texts, "L"]) for name in names]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["words"])]
    value = "words"
    weights = [numpy_helper.from_array(table, "table")]
    if types:
        nodes.append(helper.make_node("Gather", ["table", "token_type_ids"], ["kinds"]))
        nodes.append(helper.make_node("Add", ["words", "kinds"], ["both"]))
        value = "both"
    if pooled:
        weights.append(numpy_helper.from_array(np.array([1]), "axis"))
        nodes.append(helper.make_node("ReduceSum", [value, "axis"], ["pooled"], keepdims=0))
        value = "pooled"
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes.append(helper.make_node("Cast", [value], [output], to=kind))
    shape = [texts, 16] if pooled else [texts, "L", 16]
    outputs = [helper.make_tensor_value_info(output, kind, shape)]
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def write_onnx(folder: Path, model: onnx.ModelProto, name: str = "model.onnx") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tiny.tokenizer().to_str(), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def expected_mean(texts: list[np.ndarray], *, types: bool = False) -> np.ndarray:
    table = np.random.default_rng(5).normal(size=(ROWS, 16)).astype(np.float32)
    means = np.array([(table[ids] + (table[0] if types else 0)).mean(0) for ids in texts])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"types": True},
        {"integers": TensorProto.INT32},
        {"output": "token_embeddings"},
        {"output": "something"},
        {"half": True},
    ],
    ids=str,
)
def test_token_vectors_are_pooled(store: ModelStore, tmp_path: Path, options: dict[str, object]) -> None:
    model = store.add("graph", write_onnx(tmp_path / "source", encoder(**options)).parent)  # type: ignore[arg-type]
    found = model.description
    assert (found.architecture, found.dimensions, found.max_tokens) == ("onnx", 16, 16)
    assert (found.pooling, found.normalize) == ("mean", True)
    embedder = Embedder(model)
    expected = expected_mean(embedder.tokenizer.encode(TEXTS), types=bool(options.get("types")))
    assert np.abs(embedder.embed(TEXTS) - expected).max() < (1e-3 if options.get("half") else 1e-6)


@pytest.mark.parametrize("output", ["sentence_embedding", "embedding", "out"])
def test_a_pooled_output_is_left_alone(store: ModelStore, tmp_path: Path, output: str) -> None:
    model = store.add("graph", write_onnx(tmp_path / "source", encoder(output=output, pooled=True)).parent)
    assert (model.description.pooling, model.description.normalize) == ("none", False)
    table = np.random.default_rng(5).normal(size=(ROWS, 16)).astype(np.float32)
    embedder = Embedder(model)
    for text in TEXTS:
        (ids,) = embedder.tokenizer.encode([text])
        assert np.abs(embedder.embed([text])[0] - table[ids].sum(0)).max() < 1e-4


def test_a_pooled_output_is_preferred(store: ModelStore, tmp_path: Path) -> None:
    model = encoder()
    weight = numpy_helper.from_array(np.array([1]), "axis")
    model.graph.initializer.append(weight)
    model.graph.node.append(
        helper.make_node("ReduceMax", ["last_hidden_state"], ["sentence_embedding"], axes=[1], keepdims=0)
    )
    model.graph.output.append(
        helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["n", 16])
    )
    assert store.add("graph", write_onnx(tmp_path / "source", model).parent).description.pooling == "none"


def test_large_weights_are_mapped(store: ModelStore, tmp_path: Path) -> None:
    model = store.add("graph", write_onnx(tmp_path / "source", encoder()).parent)
    assert model.onnx.stat().st_size < 2_000
    assert (model.folder / "weights.bin").stat().st_size == ROWS * 16 * 4


def test_external_weights_come_along(store: ModelStore, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "source", encoder())
    plain = Embedder(store.add("plain", path)).embed(TEXTS)
    onnx.save(encoder(), path, save_as_external_data=True, location="data.bin", size_threshold=0)
    model = store.add("external", path)
    assert set(model.description.files) == {"model.onnx", "data.bin", "tokenizer.json"}
    (path.parent / "data.bin").unlink()
    assert (Embedder(model).embed(TEXTS) == plain).all()
    with pytest.raises(ModelUnreadable, match=r"data\.bin"):
        store.add("gone", path)


@pytest.mark.parametrize("place", ["/etc/passwd", "../secret.bin", "a/../../secret.bin", ""])
def test_external_weights_from_elsewhere(store: ModelStore, tmp_path: Path, place: str) -> None:
    path = write_onnx(tmp_path / "source", encoder())
    onnx.save(encoder(), path, save_as_external_data=True, location="data.bin", size_threshold=0)
    (tmp_path / "secret.bin").write_bytes(bytes(ROWS * 64))
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for field in tensor.external_data:
            if field.key == "location":
                field.value = place
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelInvalid, match="outside its folder"):
        store.add("graph", path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: encoder(extra="pixel_values"), "an input 'pixel_values'"),
        (lambda: encoder(mask=False), "no input 'attention_mask'"),
        (lambda: encoder(integers=TensorProto.UINT8), "not of whole numbers|cannot load"),
        (lambda: encoder(texts=1), "fails on a trial text"),
        (lambda: encoder(rows=10), "the tokenizer does not fit the model"),
    ],
)
def test_graphs_that_are_no_encoders(
    store: ModelStore,
    tmp_path: Path,
    make: Callable[[], onnx.ModelProto],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelInvalid, match=message):
        store.add("graph", write_onnx(tmp_path / "source", make()))
    assert list((store.root / "content").iterdir()) == []
    assert capfd.readouterr().err == ""


def test_two_outputs_that_could_be_it(store: ModelStore, tmp_path: Path) -> None:
    model = encoder(output="one")
    model.graph.node.append(helper.make_node("Identity", ["one"], ["two"]))
    model.graph.output.append(helper.make_tensor_value_info("two", TensorProto.FLOAT, ["n", "L", 16]))
    with pytest.raises(ModelInvalid, match="no output that is known") as caught:
        store.add("graph", write_onnx(tmp_path / "source", model))
    assert caught.value.detail == "Its outputs are one, two."


@pytest.mark.parametrize("raw", [b"", b"not a model", b"\x08\x07", bytes(100)])
def test_what_is_no_onnx(store: ModelStore, tmp_path: Path, raw: bytes) -> None:
    path = write_onnx(tmp_path / "source", encoder())
    path.write_bytes(raw)
    with pytest.raises(ModelInvalid, match=r"model\.onnx is not an ONNX model"):
        store.import_onnx(path, path.parent / "tokenizer.json")


def test_files_that_are_missing(store: ModelStore, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "source", encoder())
    for graph, tokenizer in (
        (path.with_name("no.onnx"), path.with_name("tokenizer.json")),
        (path, path.with_name("no")),
    ):
        with pytest.raises(ModelUnreadable, match="could not read") as caught:
            store.import_onnx(graph, tokenizer)
        assert caught.value.sqlstate == "58P01"


def test_the_tokenizer_above_the_folder_onnx(store: ModelStore, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "source", encoder(), "onnx/model.onnx")
    by_folder, by_file = store.add("folder", tmp_path / "source"), store.add("file", path)
    assert by_folder.digest == by_file.digest
    assert by_folder.digest == store.import_onnx(path, tmp_path / "source" / "tokenizer.json").digest


def test_a_graph_beside_weights_that_cannot_be_converted(store: ModelStore, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "source", {**tiny.files(), "config.json": b'{"model_type": "modern"}'})
    (folder / "model.onnx").write_bytes(encoder().SerializeToString())
    assert store.add("graph", folder).description.architecture == "onnx"


def test_our_own_graph_can_be_added_again(store: ModelStore, tmp_path: Path) -> None:
    """What the store holds is an ONNX model like any other."""
    model = store.add("tiny", tiny.write(tmp_path / "source"))
    (model.folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    again = store.import_folder(model.folder)
    assert again.description.architecture == "onnx"
    assert (Embedder(again).embed(TEXTS) == Embedder(model).embed(TEXTS)).all()
