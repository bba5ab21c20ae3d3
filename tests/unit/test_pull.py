"""Models come from a hub or a package index, whole or not at all, and once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants, file_download, hf_hub_download

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import ModelNotFound, ModelPullFailed
from azpg_runtime.models import ModelStore
from azpg_runtime.models.catalog import HubSource
from azpg_runtime.models.pull import pull

from . import hub as imitation
from . import tiny
from .hub import Hub

FILES = tiny.files()
SHA256 = {name: hashlib.sha256(FILES[name]).hexdigest() for name in ("model.safetensors", "tokenizer.json")}
SIZE = len(FILES["model.safetensors"])
ON_HUB = tiny.catalog(HubSource(imitation.REPOSITORY, imitation.REVISION))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)  # between two tries of the client
    with imitation.serve(FILES) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def fill_cache(hub: Hub) -> None:
    """As another tool does."""
    for file in FILES:
        hf_hub_download(imitation.REPOSITORY, file, revision=imitation.REVISION, endpoint=hub.url)
    hub.requests.clear()


def test_from_a_hub(hub: Hub, store: ModelStore) -> None:
    model = pull("tiny", store, catalog=ON_HUB)
    found = model.description
    assert (model.name, found.name, found.licence) == ("tiny", "tiny", "MIT")
    assert found.source == f"hf:{imitation.REPOSITORY}@{imitation.REVISION}"
    assert {name: file.sha256 for name, file in found.files.items()} == SHA256
    embedder = Embedder(model)
    expected = tiny.reference(
        tiny.weights(tiny.tokenizer().get_vocab_size(with_added_tokens=True)),
        embedder.tokenizer.encode(["query: the passage"])[0],
    )
    assert np.abs(embedder.embed(["query: the passage"])[0] - expected).max() < 1e-5
    assert {path for method, path, _ in hub.requests if method == "GET"} == set(FILES)


def test_a_second_pull_asks_nobody(hub: Hub, store: ModelStore) -> None:
    first = pull("tiny", store, catalog=ON_HUB)
    hub.requests.clear()
    assert pull("tiny", store, catalog=ON_HUB) == first
    assert hub.requests == []


def test_the_hubs_cache_is_enough(
    hub: Hub, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pull("tiny", store, catalog=ON_HUB)
    fill_cache(hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    second = pull("tiny", ModelStore(tmp_path / "other"), catalog=ON_HUB)
    assert second.digest == first.digest
    assert hub.requests == []


def test_progress(hub: Hub, store: ModelStore) -> None:
    seen: list[tuple[str, int, int]] = []
    pull("tiny", store, catalog=ON_HUB, progress=lambda *step: seen.append(step))
    steps = [(done, total) for what, done, total in seen if what == "model.safetensors"]
    assert steps[0] == (0, SIZE)
    assert steps[-1] == (SIZE, SIZE)
    assert {what for what, _, _ in seen} == set(FILES)


def test_what_is_being_done_is_said(hub: Hub, store: ModelStore) -> None:
    said: list[str] = []
    pull("tiny", store, catalog=ON_HUB, say=said.append)
    source = ON_HUB["tiny"].source
    assert said == [f"Fetching tiny, 0 MB, from {source}", "Converting tiny"]
    pull("tiny", store, catalog=ON_HUB, say=said.append)
    assert len(said) == 2, "it is there"


def test_unfinished_files_are_private(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0)
    try:
        stopped(store, monkeypatch)
    finally:
        os.umask(before)
    assert store.root.stat().st_mode & 0o777 == 0o755
    assert (store.root / "partial").stat().st_mode & 0o777 == 0o700


def test_nothing_is_drawn(hub: Hub, store: ModelStore, capfd: pytest.CaptureFixture[str]) -> None:
    hub.break_after["model.safetensors"] = 1000
    pull("tiny", store, catalog=ON_HUB)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_broken_connection_is_taken_up_again(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # what arrived counts in such pieces
    hub.break_after["model.safetensors"] = 10_000
    model = pull("tiny", store, catalog=ON_HUB)
    assert model.description.files["model.safetensors"].sha256 == SHA256["model.safetensors"]
    assert hub.asked("model.safetensors") == ["", "bytes=10000-"]


def stopped(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a pull leaves of the weights when Ctrl-C ends it at their middle."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)

    def interrupt(what: str, done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("tiny", store, catalog=ON_HUB, progress=interrupt)
    (part,) = store.root.glob("partial/*/parts/model.safetensors/*")
    return part


def test_a_killed_pull_is_taken_up_again(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    with imitation.pull_half(hub, store.root, tmp_path) as process:
        process.kill()
    (part,) = store.root.glob("partial/*/parts/model.safetensors/*")
    done, seen = part.stat().st_size, []
    model = pull("tiny", store, catalog=ON_HUB, progress=lambda *step: seen.append(step))
    assert model.description.files["model.safetensors"].sha256 == SHA256["model.safetensors"]
    assert hub.asked("model.safetensors") == ["", f"bytes={done}-"]
    assert SIZE // 3 < done <= SIZE // 2
    assert hub.sent["model.safetensors"] < SIZE + 10_000  # that much was under way when it was killed
    assert (seen[0], seen[-1][0]) == (("model.safetensors", done, SIZE), "1_Pooling/config.json")
    assert [path.suffix for path in (store.root / "partial").iterdir()] == [".lock"]


def test_two_pulls_at_once(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    with imitation.pull_half(hub, store.root, tmp_path) as process, ThreadPoolExecutor() as threads:
        second = threads.submit(pull, "tiny", store, catalog=ON_HUB)
        while len(hub.asked("1_Pooling/config.json", "HEAD")) < 2 and not second.done():
            hub.go_on.wait(0.01)
        hub.go_on.wait(0.1)  # it would ask for files now
        hub.go_on.set()
        assert second.result(60).name == "tiny"
    assert process.returncode == 0
    assert [hub.asked(file) for file in FILES] == [[""]] * len(FILES)


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda part, hub: setattr(hub, "ranges", False), "bytes=44000-"),
        (lambda part, hub: hub.files.update(tiny.files(seed=2)), ""),
        (lambda part, hub: part.write_bytes(bytes(SIZE + 1)), ""),
        (lambda part, hub: part.write_bytes(FILES["model.safetensors"]), None),
    ],
    ids=["the hub sends all of it", "other content", "too long", "whole"],
)
def test_what_a_stopped_pull_left(
    hub: Hub,
    store: ModelStore,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, Hub], None],
    asked: str | None,
) -> None:
    part = stopped(store, monkeypatch)
    assert part.stat().st_size == 44_000
    change(part, hub)
    found = pull("tiny", store, catalog=ON_HUB).description.files["model.safetensors"]
    assert found.sha256 == hub.etag("model.safetensors")
    assert hub.asked("model.safetensors") == ["", *([] if asked is None else [asked])]


def test_what_a_stopped_pull_left_is_damaged(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = stopped(store, monkeypatch)
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(
        ModelPullFailed, match=r"model\.safetensors of tiny/encoder is damaged.* deleted; pull again"
    ):
        pull("tiny", store, catalog=ON_HUB)
    assert pull("tiny", store, catalog=ON_HUB).name == "tiny"
    assert hub.asked("model.safetensors") == ["", "bytes=44000-", ""]


def test_offline_and_not_there(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelPullFailed) as caught:
        pull("tiny", store, catalog=ON_HUB)
    assert caught.value.message == "could not fetch tiny from the Hugging Face hub"
    assert caught.value.detail.startswith("HF_HUB_OFFLINE is set")
    assert "azpg models add tiny PATH" in caught.value.hint
    assert caught.value.sqlstate == "58030"
    assert hub.requests == []


def test_offline_as_a_program_sees_it(hub: Hub, tmp_path: Path) -> None:
    """The library reads its settings when it is imported, so this needs a process."""
    code = (
        "import sys; from pathlib import Path; from azpg_runtime.errors import ModelPullFailed\n"
        "from azpg_runtime.models import ModelStore; from azpg_runtime.models.pull import pull\n"
        "try: pull('multilingual-e5-small', ModelStore(Path(sys.argv[1])))\n"
        "except ModelPullFailed as error: print(error)\n"
    )
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "empty"),
        "HF_TOKEN": "hf_secret",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "models")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "HF_HUB_OFFLINE is set" in done.stdout
    assert done.stderr == ""
    assert "hf_secret" not in done.stdout


def test_a_hub_that_is_not_there(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://somebody:secret@127.0.0.1:1")
    with pytest.raises(ModelPullFailed) as caught:
        pull("tiny", store, catalog=ON_HUB)
    assert "http://127.0.0.1:1" in caught.value.detail
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses(
    hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.status = status
    with pytest.raises(ModelPullFailed) as caught:
        pull("tiny", store, catalog=ON_HUB)
    assert f"answered {status} for model.safetensors" in caught.value.detail
    assert "hf_secret" not in str(caught.value)
    assert not store.root.exists()


def test_a_file_that_is_not_there(hub: Hub, store: ModelStore) -> None:
    del hub.files["modules.json"]
    with pytest.raises(ModelPullFailed, match=r"no modules\.json of tiny/encoder"):
        pull("tiny", store, catalog=ON_HUB)


def test_a_file_that_is_not_the_pinned_one(hub: Hub, store: ModelStore) -> None:
    pinned = {"tiny": replace(ON_HUB["tiny"], sha256=SHA256)}
    hub.files["model.safetensors"] = tiny.files(seed=2)["model.safetensors"]
    for _ in range(2):  # it does not stay in the cache
        with pytest.raises(ModelPullFailed, match=r"model\.safetensors of tiny/encoder is damaged"):
            pull("tiny", store, catalog=pinned)
    hub.files["model.safetensors"] = FILES["model.safetensors"]
    assert pull("tiny", store, catalog=pinned).name == "tiny"


def test_a_file_that_was_damaged_in_the_cache(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    fill_cache(hub)
    (blob,) = (tmp_path / "cache").rglob(f"blobs/{SHA256['model.safetensors']}")
    blob.chmod(0o644)
    raw = bytearray(blob.read_bytes())
    raw[-1] ^= 1
    blob.write_bytes(raw)
    with pytest.raises(ModelPullFailed, match="is damaged"):
        pull("tiny", store, catalog=ON_HUB)
    assert (
        pull("tiny", store, catalog=ON_HUB).description.files["model.safetensors"].sha256
        == SHA256["model.safetensors"]
    )


def test_files_that_are_no_model(hub: Hub, store: ModelStore) -> None:
    hub.files["config.json"] = b'{"model_type": "gpt2"}'
    with pytest.raises(ModelPullFailed, match="model_type 'gpt2' is not supported"):
        pull("tiny", store, catalog=ON_HUB)


def test_a_folder_with_the_same_files_is_the_same_model(hub: Hub, store: ModelStore, tmp_path: Path) -> None:
    pulled = pull("tiny", store, catalog=ON_HUB)
    assert store.add("folder", tiny.write(tmp_path / "source")).digest == pulled.digest


def test_an_unknown_name(store: ModelStore) -> None:
    with pytest.raises(ModelNotFound, match="does not know where to fetch"):
        pull("nothing", store)


def test_a_name_that_the_store_has_needs_no_catalog(store: ModelStore, tmp_path: Path) -> None:
    added = store.add("mine", tiny.write(tmp_path / "source"))
    assert pull("mine", store) == added
