"""The content-addressed store: names, atomicity, several processes, removal, damage."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import (
    DiskFull,
    ModelConflict,
    ModelInvalid,
    ModelNotFound,
    ModelUnreadable,
    NotWritten,
)
from azpg_runtime.models import ModelStore
from azpg_runtime.models.store import check_name

from . import tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("other"), tiny.files(seed=2))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_an_empty_store(store: ModelStore) -> None:
    assert store.names() == []
    assert store.list() == []
    assert store.prune(set()) == {}
    assert not store.root.exists()
    with pytest.raises(ModelNotFound) as caught:
        store.get("all-minilm-l6-v2")
    assert caught.value.sqlstate == "42704"
    assert caught.value.hint == "Fetch it with `azpg models pull all-minilm-l6-v2`."


def test_add_and_get(store: ModelStore, source: Path) -> None:
    added = store.add("tiny", source, licence="MIT", source="test")
    found = store.get("tiny")
    assert found == added
    assert found.name == "tiny"
    assert found.folder.name == found.digest == found.description.digest
    assert found.onnx.is_file()
    assert found.tokenizer.read_bytes() == (source / "tokenizer.json").read_bytes()
    assert found.description.licence == "MIT"
    assert found.description.pooling == "mean"
    assert found.description.max_tokens == tiny.MAX_TOKENS
    assert store.names() == ["tiny"]
    assert store.list() == [found]
    assert store.by_digest(found.digest).name is None
    assert store.by_digest(found.digest).description == found.description


def test_the_store_needs_the_source_no_more(store: ModelStore, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "gone")
    model = store.add("tiny", folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert Embedder(model).embed(["a"]).shape == (1, tiny.HIDDEN)


def test_not_found_names_what_there_is(store: ModelStore, source: Path) -> None:
    store.add("tiny", source)
    for name in ("Tiny", "../names/tiny", "", "tiny.json"):
        with pytest.raises(ModelNotFound, match="It has tiny"):
            store.get(name)
    for name in ("Tiny", "tiny:v1", "somebody/tiny", "tinny"):
        with pytest.raises(ModelNotFound) as caught:
            store.get(name)
        assert caught.value.hint == "Did you mean 'tiny'?"
    with pytest.raises(ModelNotFound, match="See what can be fetched with `azpg models list`"):
        store.remove("other")
    with pytest.raises(ModelNotFound, match="no model with digest"):
        store.by_digest("0" * 64)
    with pytest.raises(ModelNotFound):
        store.by_digest("../names")


def test_same_content_under_two_names(store: ModelStore, source: Path) -> None:
    first, second = store.add("one", source), store.add("two", source)
    assert first.folder == second.folder
    assert store.names() == ["one", "two"]
    assert len(list((store.root / "content").iterdir())) == 1


def test_the_same_again_changes_nothing(store: ModelStore, source: Path) -> None:
    first = store.add("tiny", source)
    written = first.onnx.stat()
    assert store.add("tiny", source) == first
    assert first.onnx.stat().st_ino == written.st_ino


def test_a_name_means_one_content(store: ModelStore, source: Path, other: Path) -> None:
    first = store.add("tiny", source)
    with pytest.raises(ModelConflict, match="already stands for another model") as caught:
        store.add("tiny", other)
    assert caught.value.sqlstate == "42710"
    assert store.get("tiny") == first
    replaced = store.add("tiny", other, replace=True)
    assert store.get("tiny") == replaced != first
    assert store.by_digest(first.digest).description == first.description


def test_without_a_name(store: ModelStore, source: Path) -> None:
    model = store.import_folder(source)
    assert model.name is None
    assert store.names() == []
    assert store.by_digest(model.digest).folder == model.folder


def test_remove_leaves_the_content(store: ModelStore, source: Path) -> None:
    model = store.add("tiny", source)
    store.remove("tiny")
    assert store.names() == []
    assert store.by_digest(model.digest).digest == model.digest
    with pytest.raises(ModelNotFound):
        store.remove("tiny")


def test_prune_takes_what_nobody_needs(store: ModelStore, source: Path, other: Path) -> None:
    named, loose = store.add("tiny", source), store.import_folder(other)
    abandoned = store.root / "content" / ".new-abc"
    abandoned.mkdir()
    assert store.prune(set()) == {}  # all is young
    assert store.prune({loose.digest}, grace=-1) == {}
    assert not abandoned.exists()
    assert set(store.prune(set(), grace=-1)) == {loose.digest}
    assert store.get("tiny") == named
    with pytest.raises(ModelNotFound):
        store.by_digest(loose.digest)


def test_content_that_is_added_again_is_young(store: ModelStore, source: Path) -> None:
    model = store.import_folder(source)
    os.utime(model.folder, (0, 0))
    store.import_folder(source)
    assert store.prune(set()) == {}
    os.utime(model.folder, (0, 0))
    assert set(store.prune(set())) == {model.digest}


@pytest.mark.parametrize("name", ["", "Tiny", "-a", ".a", "a/b", "a b", "é", "a" * 64, "a\n"])
def test_names_that_are_not_allowed(store: ModelStore, source: Path, name: str) -> None:
    with pytest.raises(ModelInvalid, match="is not a model name"):
        store.add(name, source)
    assert not store.root.exists()


@pytest.mark.parametrize("name", ["a", "0", "all-minilm-l6-v2", "a.b_c-d", "a" * 63])
def test_names_that_are_allowed(name: str) -> None:
    check_name(name)


def test_modes_follow_the_umask(tmp_path: Path, source: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from azpg_runtime.models import ModelStore;"
        "os.umask(int(sys.argv[3], 8)); ModelStore(Path(sys.argv[1])).add('tiny', Path(sys.argv[2]))"
    )
    for umask, folder_mode, file_mode in (
        ("000", 0o755, 0o644),
        ("022", 0o755, 0o644),
        ("077", 0o700, 0o600),
    ):
        root = tmp_path / umask
        run(code, str(root), str(source), umask)
        for path in (root, *root.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            if path.parent.name == "names":
                assert mode == 0o644  # no secret, and written by what writes every small file
            else:
                assert mode == (folder_mode if path.is_dir() else file_mode), path


def run(code: str, *arguments: str) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)


def test_processes_add_the_same_at_once(store: ModelStore, source: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from azpg_runtime.models import ModelStore;"
        "sys.stdin.read(); ModelStore(Path(sys.argv[1])).add('tiny', Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(store.root), str(source)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) for _ in range(3)]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait() for process in started] == [0, 0, 0]
    assert [entry.name for entry in (store.root / "content").iterdir()] == [store.get("tiny").digest]
    assert [entry.name for entry in (store.root / "names").iterdir()] == ["tiny.json"]


def test_a_failed_add_leaves_nothing(store: ModelStore, source: Path, tmp_path: Path) -> None:
    files = tiny.files()
    files["model.safetensors"] = files["model.safetensors"][:-8]
    with pytest.raises(ModelInvalid):
        store.add("tiny", tiny.write(tmp_path / "torn", files))
    assert store.names() == []
    assert list((store.root / "content").iterdir()) == []


def test_a_store_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where the store should be")
    with pytest.raises(NotWritten, match="could not write to the model store"):
        ModelStore(tmp_path / "models").add("tiny", source)


def test_a_full_disk(store: ModelStore, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("azpg_runtime.models.store.sync_folder", full)
    with pytest.raises(DiskFull, match="No space left on device") as caught:
        store.add("tiny", source)
    assert caught.value.sqlstate == "53100"
    assert list((store.root / "content").iterdir()) == []
    assert store.names() == []


def test_expected_content(store: ModelStore, source: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"tokenizer\.json does not have the expected content"):
        store.add("tiny", source, expected={"tokenizer.json": "0" * 64})
    assert store.names() == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"digest": 3}', '{"digest": "../../x"}'])
def test_a_damaged_name(store: ModelStore, source: Path, content: str) -> None:
    store.add("tiny", source)
    (store.root / "names" / "tiny.json").write_text(content)
    with pytest.raises(ModelInvalid, match="is damaged"):
        store.get("tiny")
    store.remove("tiny")
    assert store.names() == []


def test_a_damaged_description(store: ModelStore, source: Path) -> None:
    model = store.add("tiny", source)
    path = model.folder / "description.json"
    text = path.read_text()
    path.write_text(text.replace('"max_tokens": 32', '"max_tokens": 31'))
    with pytest.raises(ModelInvalid, match="digest is not that of its content"):
        store.get("tiny")
    path.unlink()
    with pytest.raises(ModelUnreadable):
        store.get("tiny")
