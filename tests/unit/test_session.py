"""A loaded model: runs, cancels, refuses nonsense, and says nothing on stderr."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from azpg_runtime.embedding.session import Session
from azpg_runtime.errors import EmbeddingCancelled, ModelInvalid, ModelUnreadable, OutOfMemory, OutOfThreads
from azpg_runtime.models import ModelStore, StoredModel
from azpg_runtime.models.execution import pad, usable_cpus

from . import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StoredModel:
    folder = tmp_path_factory.mktemp("session")
    return ModelStore(folder / "store").add("tiny", tiny.write(folder / "source"))


def ids(*lengths: int) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(4, 30, length) for length in lengths]


def test_one_vector_for_each_text(model: StoredModel) -> None:
    rows = Session(model).run(ids(3, 9, 1))
    assert rows.shape == (3, tiny.HIDDEN)
    assert rows.dtype == np.float32
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6


def test_padding_does_not_matter(model: StoredModel) -> None:
    session = Session(model)
    texts = ids(2, 30, 7, 7, 1)
    alone = np.vstack([session.run([text]) for text in texts])
    assert np.abs(session.run(texts) - alone).max() < 1e-6
    assert np.abs(Session(model, padding=0).run(texts) - alone).max() < 1e-6


def test_nothing_to_run(model: StoredModel) -> None:
    assert Session(model).run([]).shape == (0, tiny.HIDDEN)


def test_padding_is_masked() -> None:
    tokens, mask = pad([np.array([5, 6]), np.array([7])], 1)
    assert tokens.tolist() == [[5, 6], [7, 1]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    assert tokens.dtype == mask.dtype == np.int64


@pytest.mark.parametrize(
    ("intra", "inter", "spin", "threads"), [(0, 1, False, usable_cpus()), (1, 2, True, 1), (3, 1, False, 3)]
)
def test_settings_reach_onnx_runtime(
    model: StoredModel, intra: int, inter: int, spin: bool, threads: int
) -> None:
    session = Session(model, intra_op_threads=intra, inter_op_threads=inter, spin=spin)
    options = session._session.get_session_options()
    assert options.intra_op_num_threads == threads
    assert options.inter_op_num_threads == inter
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == str(int(spin))
    assert not options.enable_cpu_mem_arena
    assert session.run(ids(3)).shape == (1, tiny.HIDDEN)


def test_a_run_that_is_over_before_it_began(model: StoredModel) -> None:
    options = onnxruntime.RunOptions()
    options.terminate = True
    with pytest.raises(EmbeddingCancelled):
        Session(model).run(ids(3), terminate=options)


def test_a_run_is_ended_by_another_thread(minilm: StoredModel, capfd: pytest.CaptureFixture[str]) -> None:
    """The run is long enough (256 texts of 256 tokens) that it cannot end by itself before."""
    session = Session(minilm)
    options = onnxruntime.RunOptions()
    stopper = threading.Timer(0.05, lambda: setattr(options, "terminate", True))
    stopper.start()
    with pytest.raises(EmbeddingCancelled) as caught:
        session.run([np.full(256, 1000)] * 256, terminate=options)
    stopper.join()
    assert caught.value.sqlstate == "57014"
    assert session.run([np.array([101, 102])]).shape == (1, 384)
    assert capfd.readouterr().err == ""


def test_a_failing_run_says_so_once(model: StoredModel, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelInvalid, match="the model failed"):
        Session(model).run([np.array([10**6])])
    assert capfd.readouterr().err == ""


def test_vectors_that_are_not_finite(model: StoredModel) -> None:
    session = Session(model)
    with pytest.raises(ModelInvalid, match="finite"):
        session._checked(np.full((1, tiny.HIDDEN), np.nan, np.float32), 1)


def test_vectors_of_another_length(model: StoredModel) -> None:
    other = dataclasses.replace(model.description, dimensions=7)
    with pytest.raises(ModelInvalid, match=r"\[1, 32\] where \[1, 7\]"):
        Session(dataclasses.replace(model, description=other)).run(ids(3))


def test_a_graph_that_is_gone(model: StoredModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelUnreadable, match="could not read"):
        Session(dataclasses.replace(model, folder=tmp_path), padding=0)
    (tmp_path / "model.onnx").write_bytes(model.onnx.read_bytes())  # without its weights
    with pytest.raises(ModelInvalid, match="cannot load"):
        Session(dataclasses.replace(model, folder=tmp_path), padding=0)
    assert capfd.readouterr().err == ""


def test_threads_that_the_system_does_not_allow(model: StoredModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself would wait for them for ever."""
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if len(started) == 20:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(OutOfThreads) as caught:
        Session(model, padding=0, intra_op_threads=30, inter_op_threads=2)
    assert caught.value.sqlstate == "53000"
    assert caught.value.message == "the system allows only 20 of 32 threads"
    assert caught.value.hint == (
        "Lower intra_op_parallelism and inter_op_parallelism, or raise the limit of processes."
    )
    assert not any(thread.is_alive() for thread in started)


@pytest.mark.parametrize(
    "message", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 7"]
)
def test_memory_that_runs_out(model: StoredModel, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception: {message}")

    session = Session(model, padding=0)
    monkeypatch.setattr(session, "_session", SimpleNamespace(run=fails))
    with pytest.raises(OutOfMemory, match="the memory does not suffice to run the model") as caught:
        session.run(ids(3))
    assert caught.value.sqlstate == "53200"
    monkeypatch.setattr(onnxruntime, "InferenceSession", fails)
    with pytest.raises(OutOfMemory, match=r"the memory does not suffice to load model\.onnx"):
        Session(model, padding=0)
