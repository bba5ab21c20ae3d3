"""A model of somebody else's may be a trap: it gives away no file, ends no process, and holds up nobody."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import HostError, ModelError, ModelInvalid, ModelUnreadable, TextTooLong
from azpg_runtime.files import write_atomically
from azpg_runtime.home import Home
from azpg_runtime.host.client import HostClient
from azpg_runtime.host.protocol import Embed, Kind, Register, RemoteError
from azpg_runtime.models import FileDigest, ModelDescription, ModelStore
from azpg_runtime.models.import_process import ImportLimits
from azpg_runtime.wait import wait_for
from tests import command_line
from tests.integration.conftest import start
from tests.integration.hosts import Host
from tests.unit import tiny

__all__ = ["start"]

PATIENCE = 60.0
NOBODY = 65534
SECRET = b"the secret that only its owner may read"
TEXTS = ["the passage", "日本語 ab"]
BRIEF = ImportLimits(seconds=4.0)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of a model, with a file beside it that is nobody's business."""
    (tmp_path / "secret.bin").write_bytes(SECRET)
    (tmp_path / "secret.bin").chmod(0o600)
    return tiny.write(tmp_path / "source")


def encoder(nodes: list[onnx.NodeProto] | None = None, *, width: int = 16) -> onnx.ModelProto:
    """A graph that looks up its tokens' rows; `nodes` turn what is called `rows` into `last_hidden_state`."""
    rows = tiny.tokenizer().get_vocab_size(with_added_tokens=True)
    table = np.random.default_rng(5).normal(size=(rows, width)).astype(np.float32)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "L"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "L", width])
    lookup = helper.make_node("Gather", ["table", "input_ids"], ["rows"])
    identity = helper.make_node("Identity", ["rows"], ["last_hidden_state"])
    graph = helper.make_graph(
        [lookup, *(nodes or [identity])], "test", inputs, [output], [numpy_helper.from_array(table, "table")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def write(folder: Path, model: onnx.ModelProto) -> Path:
    """The folder of a model that is ONNX already."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tiny.tokenizer().to_str(), encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def with_external(folder: Path, **fields: str) -> Path:
    """An encoder with a tensor of ten bytes, which lie in w.bin as `fields` say, in a graph that needs none."""
    model = encoder()
    tensor = TensorProto(name="bytes", data_type=TensorProto.UINT8, dims=[10])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": "0", "length": "10", **fields}.items():
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    return write(folder, model)


def published(store: ModelStore) -> bytes:
    """Everything that the store's files hold."""
    return b"".join(path.read_bytes() for path in store.root.rglob("*") if path.is_file())


# Links


NAMES = ["model.safetensors", "tokenizer.json", "config.json", "modules.json", "1_Pooling/config.json"]


@pytest.mark.parametrize("name", NAMES)
def test_a_link_that_leaves_the_folder_is_refused(store: ModelStore, source: Path, name: str) -> None:
    away = source.parent / f"away-{Path(name).name}"
    (source / name).rename(away)
    for target in (away, Path(os.path.relpath(away, (source / name).parent))):
        (source / name).unlink(missing_ok=True)
        (source / name).symlink_to(target)
        with pytest.raises(
            ModelUnreadable, match=f"{name} is a link that leaves the model's folder"
        ) as caught:
            store.add("leak", source)
        assert caught.value.hint == "Put the file itself into the folder, in place of the link."
    assert store.names() == []


def test_a_folder_that_is_a_link_out_of_the_model_is_refused(store: ModelStore, source: Path) -> None:
    (source / "1_Pooling").rename(source.parent / "pooling")
    (source / "1_Pooling").symlink_to("../pooling")
    with pytest.raises(ModelUnreadable, match="a link that leaves the model's folder"):
        store.add("leak", source)


def test_external_data_that_is_a_link_out_of_the_folder_is_refused(store: ModelStore, source: Path) -> None:
    folder = with_external(source.parent / "graph")
    (folder / "w.bin").symlink_to("../secret.bin")
    with pytest.raises(ModelUnreadable, match=r"w\.bin is a link that leaves the model's folder"):
        store.add("leak", folder)
    assert SECRET not in published(store)


@as_root
@pytest.mark.parametrize("hard", [False, True], ids=["link", "hard link"])
def test_a_file_of_somebody_else_is_refused_although_we_may_read_it(
    store: ModelStore, source: Path, hard: bool
) -> None:
    """The attack: a user's folder, root's secret, and root adds the model."""
    folder = with_external(source.parent / "graph")
    if hard:
        (folder / "w.bin").hardlink_to(source.parent / "secret.bin")
    else:
        (source.parent / "secret.bin").rename(folder / "secret.bin")  # inside: the owner alone must do
        (folder / "w.bin").symlink_to("secret.bin")
    for path in (folder, folder / "model.onnx", folder / "tokenizer.json", folder / "w.bin"):
        if not hard or path.name != "w.bin":
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(ModelUnreadable, match=r"w\.bin (is a link to|belongs to somebody else)"):
        store.add("leak", folder)
    assert SECRET[:10] not in published(store)


def test_links_within_the_folder_are_followed(store: ModelStore, source: Path) -> None:
    plain = store.add("plain", source)
    (source / "blobs").mkdir()
    (source / "tokenizer.json").rename(source / "blobs" / "t")
    (source / "tokenizer.json").symlink_to("blobs/t")
    (source / "1_Pooling").rename(source / "blobs" / "pooling")
    (source / "1_Pooling").symlink_to("./blobs/../blobs/pooling")
    assert store.add("linked", source).digest == plain.digest


def test_the_hubs_own_cache_is_a_folder_of_links(store: ModelStore, source: Path) -> None:
    repository = source.parent / "hub" / "models--some--model"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / "0123"
    for path in source.rglob("*"):
        if path.is_file():
            blob = repository / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            blob.write_bytes(path.read_bytes())
            link = snapshot / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    assert store.add("cached", snapshot).digest == store.add("plain", source).digest


def test_a_pipe_is_no_file_to_wait_for(store: ModelStore, source: Path) -> None:
    (source / "tokenizer.json").unlink()
    os.mkfifo(source / "tokenizer.json")
    with pytest.raises(ModelUnreadable, match=r"tokenizer\.json is no file"):
        store.add("pipe", source)


# External data


def test_only_the_bytes_that_tensors_name_are_copied(store: ModelStore, tmp_path: Path) -> None:
    folder = with_external(tmp_path / "graph", offset="4096")
    raw = b"before" * 1000 + SECRET
    (folder / "w.bin").write_bytes(raw)
    model = store.add("part", folder)
    (copy,) = model.folder.glob("external-*.bin")
    assert copy.read_bytes() == bytes(4096) + raw[4096:4106]
    assert SECRET not in published(store)
    assert model.description.files["w.bin"] == FileDigest(len(raw), hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": "9"}, "beyond the end"),
        ({"offset": "-1"}, "'offset' is '-1'"),
        ({"length": "x"}, "'length' is 'x'"),
        ({"offset": "9" * 5000}, "'offset' is"),
        ({"length": "11"}, "11 bytes"),
    ],
)
def test_external_data_that_is_not_there(
    store: ModelStore, tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    folder = with_external(tmp_path / "graph", **fields)
    (folder / "w.bin").write_bytes(bytes(11))
    with pytest.raises(ModelInvalid, match=message):
        store.add("outside", folder)


def test_a_location_that_is_there_twice(store: ModelStore, tmp_path: Path) -> None:
    folder = with_external(tmp_path / "graph")
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    model.graph.initializer[1].external_data.add(key="location", value="other.bin")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for name in ("w.bin", "other.bin"):
        (folder / name).write_bytes(bytes(10))
    with pytest.raises(ModelInvalid, match="names the 'location' of its data twice"):
        store.add("twice", folder)


# Work without an end


def endless(token: int | None = None) -> onnx.ModelProto:
    """A graph that turns its rows round 2^62 times; with `token`, only where that is among a run's tokens."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["old"], ["new"])],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("old", TensorProto.FLOAT, None),
        ],
        [value("on", TensorProto.BOOL, []), value("new", TensorProto.FLOAT, None)],
    )
    times = helper.make_node("Constant", [], ["times"], value=numpy_helper.from_array(np.array(1 << 62)))
    true = helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True)))
    loop = helper.make_node("Loop", ["turns", "true", "rows"], ["last_hidden_state"], body=body)
    if token is None:
        return encoder([times, helper.make_node("Identity", ["times"], ["turns"]), true, loop])
    multiply = helper.make_node("Mul", ["times", "any"], ["turns"])
    return encoder([times, *seeking(token), multiply, true, loop])


def constant(name: str, value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value)))


def seeking(token: int) -> list[onnx.NodeProto]:
    """What makes `any` 1 where the token is among a run's, else 0."""
    return [
        constant("token", token),
        helper.make_node("Equal", ["input_ids", "token"], ["equal"]),
        helper.make_node("Cast", ["equal"], ["found"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["found"], ["any"], keepdims=0),
    ]


def children(of: psutil.Process) -> list[psutil.Process]:
    return of.children(recursive=True)


def test_a_loop_without_an_end_is_ended_in_words(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models", limits=BRIEF)
    with pytest.raises(
        ModelInvalid, match="reading and trying the model took longer than 4 seconds"
    ) as caught:
        store.add("endless", write(tmp_path / "graph", endless()))
    assert "models add" in caught.value.hint
    assert children(psutil.Process()) == []
    assert list((store.root / "content").iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_imports_ends_when_it_is_told(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    folder = write(tmp_path / "graph", endless())
    with command_line.started() as start:
        command = start(
            "models", "add", "endless", str(folder), env={**os.environ, "AZPG_HOME": str(tmp_path / "home")}
        )
        content = tmp_path / "home" / "models" / "content"
        process = psutil.Process(command.pid)
        assert wait_for(lambda: content.is_dir() and bool(children(process)), timeout=PATIENCE)
        child = children(process)[0]
        command.send_signal(number)
        _, said = command.communicate(timeout=PATIENCE)
        assert (command.returncode, said.count("\n")) == (code, 1), said
        assert wait_for(lambda: not child.is_running(), timeout=PATIENCE)
        assert list(content.iterdir()) == []


def test_an_import_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    folder = write(tmp_path / "graph", endless())
    with command_line.started() as start:
        command = start(
            "models", "add", "endless", str(folder), env={**os.environ, "AZPG_HOME": str(tmp_path / "home")}
        )
        process = psutil.Process(command.pid)
        assert wait_for(lambda: bool(children(process)), timeout=PATIENCE)
        child = children(process)[0]
        command.kill()
        assert wait_for(
            lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, timeout=PATIENCE
        )


def test_more_memory_than_a_model_may_have(tmp_path: Path) -> None:
    """Each text becomes a tensor of 64 GB."""
    size = helper.make_node("Constant", [], ["size"], value=numpy_helper.from_array(np.array([1 << 34])))
    large = helper.make_node("Expand", ["one", "size"], ["large"])
    one = helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.float32([1])))
    most = helper.make_node("ReduceMax", ["large"], ["most"], keepdims=0)
    add = helper.make_node("Add", ["rows", "most"], ["last_hidden_state"])
    store = ModelStore(tmp_path / "models")
    with pytest.raises(ModelError, match="memory"):
        store.add("large", write(tmp_path / "graph", encoder([size, one, large, most, add])))


# Tokenizers


def replacing(text: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": text}, "content": content}


def growing(letter: str = "z") -> dict[str, Any]:
    """Of that letter it makes 10^12. No special token has a z, so that it grows at the first text only."""
    return {"normalizer": {"type": "Sequence", "normalizers": [replacing(letter, letter * 100)] * 6}}


def precompiled(longest: int) -> dict[str, Any]:
    """A table as sentencepiece makes it: a trie, whose only key is z, and what stands for that."""
    trie = [0] * 380
    trie[0], trie[256 ^ 0x7A], trie[256 ^ 0x7A ^ 1] = 256 << 10, 0x7A | 1 << 8 | 1 << 10, 0
    table = struct.pack(f"<{1 + len(trie)}I", 4 * len(trie), *trie) + b"y" * longest + b"\0"
    return {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}}


def sequence(*steps: dict[str, Any], key: str = "normalizers") -> dict[str, Any]:
    return {"type": "Sequence", key: list(steps)}


def growing_by_regex(content: str) -> dict[str, Any]:
    """Of each character it makes `content`, which is decomposed, and of each byte of that a character."""
    replace = {"type": "Replace", "pattern": {"Regex": "\\S"}, "content": content}
    return {"normalizer": sequence(replace, {"type": "NFKD"}), "pre_tokenizer": by_bytes()}


def by_bytes() -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def growing_little(source: Path) -> Path:
    """The folder of a model that is within what is allowed: its tokenizer lets a z grow 11 * 18 times."""
    table = precompiled(18)["normalizer"]
    return changed(source, {"normalizer": sequence(table, {"type": "NFKD"}), "pre_tokenizer": None})


def panicking() -> dict[str, Any]:
    """Where its regular expression has too much to try, the library panics."""
    split = {"type": "Split", "pattern": {"Regex": "(a|a)*(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    return {"pre_tokenizer": split, "normalizer": None}


BAD = "a" * 40 + "!"


def changed(folder: Path, changes: dict[str, Any]) -> Path:
    """The folder of a model, with other parts in its tokenizer."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}))
    return folder


def smuggled(store: ModelStore, name: str, folder: Path, changes: dict[str, Any]) -> None:
    """Puts a model into the store with another tokenizer than it was added with, as an older azpg might have."""
    model = store.add(name, folder)
    raw = json.loads(model.tokenizer.read_text(encoding="utf-8"))
    model.tokenizer.write_text(json.dumps({**raw, **changes}))
    files = dict(model.description.files)
    raw_bytes = model.tokenizer.read_bytes()
    files["tokenizer.json"] = FileDigest(len(raw_bytes), hashlib.sha256(raw_bytes).hexdigest())
    about = json.loads(model.description.to_json())
    about["files"] = {key: {"size": one.size, "sha256": one.sha256} for key, one in files.items()}
    old = model.description
    new = ModelDescription(
        old.name, old.architecture, old.dimensions, old.max_tokens, old.pooling, old.normalize,
        old.licence, old.source, files, old.parameters,
    )  # fmt: skip
    (model.folder / "description.json").write_text(new.to_json())
    model.folder.rename(model.folder.with_name(new.digest))
    write_atomically(store.root / "names" / f"{name}.json", json.dumps({"digest": new.digest}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (growing(), "lets a text grow"),
        (growing("a"), "takes more memory than"),
        ({"normalizer": replacing("", "a" * 100)}, "lets a text grow"),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": "a*"}, "content": "a" * 100}},
            "lets a text grow",
        ),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 100_000}}, "lets a text grow"),
        (precompiled(1_000_000), "lets a text grow"),
        ({"normalizer": sequence(*[precompiled(18)["normalizer"]] * 6)}, "lets a text grow 1.36e\\+08 times"),
        (growing_by_regex("\ufdfa" * 32), "lets a text grow 2.11e\\+03 times"),
        (growing_by_regex("\U0001f600" * 32), "lets a text grow 2.82e\\+03 times"),
        ({"normalizer": sequence(*[{"type": "NFKC"}] * 4)}, "lets a text grow 5.86e\\+04 times"),
        (
            {"pre_tokenizer": sequence(*[by_bytes()] * 12, key="pretokenizers")},
            "lets a text grow 4.51e\\+04 times",
        ),
    ],
)
def test_a_tokenizer_that_lets_texts_grow_is_refused(
    store: ModelStore, source: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        store.add("growing", changed(source, changes))
    assert caught.value.hint


def test_a_text_that_grows_too_large_is_refused(store: ModelStore, source: Path) -> None:
    embedder = Embedder(store.add("growing", growing_little(source)))
    assert np.isfinite(embedder.embed(["z" * 1000])).all()
    with pytest.raises(TextTooLong, match="may make 4500000 bytes of a text; the limit is 4194304") as caught:
        embedder.embed(["z" * 250_000])
    assert caught.value.hint


def test_a_word_that_takes_for_ever_is_refused(store: ModelStore, source: Path) -> None:
    model = {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 10**9, "vocab": {"<unk>": 0, "a": 1}}  # fmt: skip
    with pytest.raises(ModelInvalid, match="words of up to 1000000000 characters"):
        store.add("slow", changed(source, {"model": model, "added_tokens": [], "post_processor": None}))


def test_very_many_regular_expressions_are_refused(store: ModelStore, source: Path) -> None:
    """Each takes a moment at the shortest text, with which a tokenizer is tried wherever it is loaded."""
    split = {"type": "Split", "pattern": {"Regex": "(?:|||||||||)" * 6 + "(?!)"}, "behavior": "Isolated", "invert": False}  # fmt: skip
    steps = {"type": "Sequence", "pretokenizers": [split] * 1000}
    with pytest.raises(ModelInvalid, match="has 1000 regular expressions"):
        store.add("slow", changed(source, {"pre_tokenizer": steps}))


@pytest.mark.parametrize(
    ("affix", "model"),
    [
        ("continuing_subword_prefix", {"type": "WordPiece", "unk_token": "<unk>", "max_input_chars_per_word": 100}),
        ("continuing_subword_prefix", {"type": "BPE", "merges": []}),
        ("end_of_word_suffix", {"type": "BPE", "merges": []}),
    ],
)  # fmt: skip
def test_a_part_of_every_token_that_is_very_long_is_refused(
    store: ModelStore, source: Path, affix: str, model: dict[str, Any]
) -> None:
    """It is copied for each look into the vocabulary."""
    changes = {**model, affix: "#" * 1_000_000, "vocab": {"<unk>": 0, "a": 1}}
    with pytest.raises(ModelInvalid, match="adds 1000000 characters to its tokens"):
        store.add("slow", changed(source, {"model": changes, "added_tokens": [], "post_processor": None}))


def test_a_very_long_token_for_what_is_not_known_is_refused(store: ModelStore, source: Path) -> None:
    unknown = "?" * 1_000_000
    model = {"type": "BPE", "merges": [], "unk_token": unknown, "vocab": {unknown: 0, "a": 1}}
    with pytest.raises(ModelInvalid, match="writes 1000000 characters for each word that it does not know"):
        store.add("slow", changed(source, {"model": model, "added_tokens": [], "post_processor": None}))


def test_a_table_of_characters_as_usual_tokenizers_have_it(store: ModelStore, source: Path) -> None:
    usual = precompiled(18)
    embedder = Embedder(store.add("usual", changed(source, usual)))
    assert np.isfinite(embedder.embed(["zzz"])).all()


def test_more_special_tokens_than_a_text_may_have(store: ModelStore, source: Path) -> None:
    special = {"<s>": {"id": "<s>", "ids": [0] * 1000, "tokens": ["<s>"] * 1000}}
    single = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": special}  # fmt: skip
    model = store.add("special", changed(source, {"post_processor": template}))
    with pytest.raises(ModelInvalid, match="1000 special tokens"):
        Embedder(model)


def test_a_tokenizer_that_panics_ends_the_one_call(store: ModelStore, source: Path) -> None:
    model = store.add("panicking", changed(source, panicking()))
    embedder = Embedder(model)
    before = embedder.embed(TEXTS)
    with pytest.raises(ModelInvalid, match="the tokenizer fails on a text"):
        embedder.embed([*TEXTS, BAD])
    assert (embedder.embed(TEXTS) == before).all()


@pytest.mark.parametrize("make", [growing, panicking])
def test_the_command_embed_says_it_in_words(
    tmp_path: Path, source: Path, make: Callable[[], dict[str, Any]]
) -> None:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    smuggled(ModelStore(home / "models"), "bad", source, make())
    done = command_line.run("embed", "--model", "bad", BAD + "z", status=1, AZPG_HOME=str(home))
    assert done.stdout == ""
    assert "the tokenizer" in done.stderr


# The host


@pytest.fixture
def host(home: Home, start: Callable[..., Host]) -> Host:
    """A host with a model store of its own."""
    home.models.unlink()
    home.models.mkdir()
    return start()


def embed(host: Host, uri: str, *texts: str) -> Any:
    return host.request(Kind.EMBED, Embed(uri, list(texts)).pack())


def register(host: Host, name: str, folder: Path) -> str:
    """Registers a folder as a file of the instance; its URI."""
    folder.rename(host.home.models / name)
    host.request(Kind.REGISTER, Register(name, name).pack())
    return f"{name}:v1"


@pytest.mark.parametrize("around", [[], ["the passage"] * 2000], ids=["at once", "in turns"])
def test_a_tokenizer_that_panics_ends_one_call_of_the_host(
    host: Host, source: Path, tmp_path: Path, around: list[str]
) -> None:
    good = register(host, "good", tiny.write(tmp_path / "good"))
    bad = register(host, "bad", changed(source, panicking()))
    before = host.process.pid
    error = host.refused(Kind.EMBED, Embed(bad, [*around, BAD]).pack())
    assert (error.sqlstate, error.message[:35]) == ("22023", "the tokenizer fails on a text: Onig")
    for uri in (bad, good):
        assert embed(host, uri, "the passage") is not None
    assert host.status()["pid"] == before
    assert "never retrieved" not in host.home.host_log.read_text()


def test_a_tokenizer_that_grows_ends_one_call_of_the_host(
    home: Home, host: Host, source: Path, tmp_path: Path
) -> None:
    good = register(host, "good", tiny.write(tmp_path / "good"))
    smuggled(ModelStore(home.models), "growing", source, growing())
    before = host.process.pid
    error = host.refused(Kind.REGISTER, Register("growing", "growing").pack())
    assert error.message.startswith("the tokenizer lets a text grow 4e+12 times")
    assert embed(host, good, "the passage") is not None
    assert host.status()["pid"] == before


def imports(host: Host) -> list[psutil.Process]:
    return [one for one in host.process.children() if "azpg_runtime.models.import_child" in one.cmdline()]


def test_a_host_answers_while_it_imports_without_an_end_and_can_be_stopped(
    host: Host, tmp_path: Path
) -> None:
    good = register(host, "good", tiny.write(tmp_path / "good"))
    write(tmp_path / "graph", endless()).rename(host.home.models / "endless")
    with ThreadPoolExecutor(1) as thread:
        for ends in (False, True):
            client = HostClient(host.home.host_socket, timeout=PATIENCE if ends else 5.0)
            call = thread.submit(client.request, Kind.REGISTER, Register("endless", "endless").pack())
            assert wait_for(lambda: bool(imports(host)), timeout=PATIENCE)
            (child,) = imports(host)
            assert embed(host, good, "the passage") is not None
            if ends:
                host.process.terminate()
            assert isinstance(call.exception(PATIENCE), HostError | RemoteError)
            assert wait_for(lambda: not child.is_running(), timeout=PATIENCE)  # noqa: B023
            client.close()
    assert embed(host, good, "the passage") is not None
