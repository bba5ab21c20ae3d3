"""From other people's files to the store's: safetensors, BERT, and graphs that are ONNX already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models import ModelStore
from azpg_runtime.models.recipe import read_recipe
from azpg_runtime.models.safetensors import SafetensorsFile

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


# safetensors


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny.safetensors({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}))
    with SafetensorsFile(path) as file:
        assert list(file) == ["a"]
        values = file.float32("a", (2, 3))
        assert values.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert not values.flags.owndata
        assert not values.flags.writeable
        del values


def test_other_floats_become_float32(tmp_path: Path) -> None:
    half = np.array([1.5, -2], np.float16)
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny.safetensors({"a": half}))
    with SafetensorsFile(path) as file:
        assert file.float32("a", (2,)).tolist() == [1.5, -2]
    brain = (half.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    path.write_bytes(with_header({"a": entry(dtype="BF16", data_offsets=[0, 4])}, brain.tobytes()))
    with SafetensorsFile(path) as file:
        assert file.float32("a", (2,)).tolist() == [1.5, -2]


def with_header(header: object, data: bytes = bytes(8)) -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"1234567",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (3).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{x",
        with_header([]),
        with_header({"a": 3}),
        with_header({"a": {}}),
        with_header({"a": entry(dtype="F31")}),
        with_header({"a": entry(shape=[-2])}),
        with_header({"a": entry(shape=[2.0])}),
        with_header({"a": entry(shape=[3])}),
        with_header({"a": entry(data_offsets=[8, 0])}),
        with_header({"a": entry(data_offsets=[0, 16], shape=[4])}),
        with_header({"a": entry(data_offsets=[0])}),
        with_header({"a": entry(), "b": entry(data_offsets=[4, 8], shape=[1])}),
    ],
)
def test_what_is_no_safetensors_file(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ModelInvalid, match=r"model\.safetensors is not a safetensors file"):
        SafetensorsFile(path)


@given(raw=st.binary(max_size=40), length=st.integers(0, 60))
def test_no_bytes_get_past_the_checks(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + raw)
    try:
        SafetensorsFile(path).close()
    except ModelInvalid:
        pass
    else:
        assert isinstance(json.loads(raw[:length]), dict)


def test_tensors_that_are_not_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny.safetensors({"a": np.zeros(2, np.float32), "i": np.zeros(2, np.int64)}))
    with SafetensorsFile(path) as file:
        for name, shape, message in (
            ("b", (2,), "no tensor 'b'"),
            ("a", (3,), "has shape"),
            ("i", (2,), "holds I64"),
        ):
            with pytest.raises(ModelInvalid, match=message):
                file.float32(name, shape)


# BERT


def test_the_graph_is_fused(store: ModelStore, tmp_path: Path) -> None:
    model = store.add("tiny", tiny.write(tmp_path / "source"))
    graph = onnx.load(model.onnx, load_external_data=False).graph
    kinds = [node.op_type for node in graph.node]
    assert {kind: kinds.count(kind) for kind in CONTRIB} == CONTRIB
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.output] == ["embedding"]
    assert model.onnx.stat().st_size < 20_000
    onnx.checker.check_model(str(model.onnx))


def test_minilm_is_fused(minilm: object) -> None:
    graph = onnx.load(minilm.onnx, load_external_data=False).graph  # type: ignore[attr-defined]
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
    plain = store.add("plain", tiny.write(tmp_path / "plain", changed("modules.json", modules[:2])))
    unit = store.add("unit", tiny.write(tmp_path / "unit"))
    assert not plain.description.normalize
    vectors = Embedder(plain).embed(TEXTS)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(norms - 1).min() > 0.1
    assert np.abs(vectors / norms - Embedder(unit).embed(TEXTS)).max() < 1e-6


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


def test_a_tokenizer_of_another_model(store: ModelStore, tmp_path: Path, minilm: object) -> None:
    files = {**tiny.files(), "tokenizer.json": minilm.tokenizer.read_bytes()}  # type: ignore[attr-defined]
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


# How a model is used

ROBERTA = {"model_type": "xlm-roberta", "max_position_embeddings": 514}
CUTTING = {"truncation": {"max_length": 128}}


@pytest.mark.parametrize(
    ("drop", "changes", "expected"),
    [
        ([], {}, 32),
        (["sentence_bert_config.json"], {}, 40),
        (["sentence_bert_config.json"], {"tokenizer_config.json": {"model_max_length": 20}}, 20),
        (["sentence_bert_config.json"], {"tokenizer_config.json": {"model_max_length": 1e30}}, 40),
        (
            ["sentence_bert_config.json"],
            {"config.json": {"model_type": "xlm-roberta", "max_position_embeddings": 514}},
            512,
        ),
        (["sentence_bert_config.json", "config.json"], {}, 512),
        (
            ["sentence_bert_config.json", "config.json"],
            {"tokenizer.json": {"truncation": {"max_length": 128}}},
            128,
        ),
        ([], {"sentence_bert_config.json": {"max_seq_length": None}}, 40),
    ],
)
def test_max_tokens(tmp_path: Path, drop: list[str], changes: dict[str, object], expected: int) -> None:
    files = {name: raw for name, raw in tiny.files().items() if name not in drop}
    files |= {name: json.dumps(value).encode() for name, value in changes.items()}
    assert read_recipe(tiny.write(tmp_path, files)).max_tokens == expected


def test_without_sentence_transformers_files(tmp_path: Path) -> None:
    files = {
        name: raw for name, raw in tiny.files().items() if "odules" not in name and "Pooling" not in name
    }
    recipe = read_recipe(tiny.write(tmp_path, files))
    assert (recipe.pooling, recipe.normalize) == ("mean", True)


def modules(*kinds: str, path: str = "1_Pooling") -> list[dict[str, str]]:
    return [
        {"type": f"sentence_transformers.models.{kind}", "path": path if kind == "Pooling" else ""}
        for kind in kinds
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("modules.json", modules("Transformer", "Pooling", "Dense"), "a module 'Dense'"),
        ("modules.json", modules("Transformer", "Normalize"), "no Pooling"),
        ("modules.json", modules("Pooling", path="../../etc"), "outside the model"),
        ("modules.json", {"a": 1}, "not a list of modules"),
        ("modules.json", [1], "not a list of modules"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "not supported",
        ),
        ("1_Pooling/config.json", [], "not a JSON object"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "'max_seq_length' is 0"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "'max_seq_length' is True"),
    ],
)
def test_recipes_that_are_not_supported(tmp_path: Path, name: str, value: object, message: str) -> None:
    with pytest.raises(ModelInvalid, match=message):
        read_recipe(tiny.write(tmp_path, changed(name, value)))


# Graphs that are ONNX already


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
            store.import_onnx(graph, tokens)
        assert caught.value.sqlstate == "58P01"


def test_the_tokenizer_above_the_folder_onnx(store: ModelStore, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "source", encoder(), "onnx/model.onnx")
    by_folder, by_file = store.add("folder", tmp_path / "source"), store.add("file", path)
    assert by_folder.digest == by_file.digest
    assert by_folder.digest == store.import_onnx(path, tmp_path / "source" / "tokenizer.json").digest


def test_a_graph_beside_weights_that_cannot_be_converted(store: ModelStore, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "source", changed("config.json", tiny.config(model_type="modern")))
    (folder / "model.onnx").write_bytes(encoder().SerializeToString())
    assert store.add("graph", folder).description.architecture == "onnx"


def test_our_own_graph_can_be_added_again(store: ModelStore, tmp_path: Path) -> None:
    """What the store holds is an ONNX model like any other."""
    model = store.add("tiny", tiny.write(tmp_path / "source"))
    (model.folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    again = store.import_folder(model.folder)
    assert again.description.architecture == "onnx"
    assert (Embedder(again).embed(TEXTS) == Embedder(model).embed(TEXTS)).all()
