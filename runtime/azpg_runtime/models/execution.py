"""Running a model's graph: ONNX Runtime sessions and what they are fed."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from azpg_runtime.errors import ModelInvalid, ModelUnreadable, OutOfMemory, OutOfThreads

Ids = npt.NDArray[np.int64] | npt.NDArray[np.int32]

_FATAL = 4
_NOISE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?")
_NO_MEMORY = re.compile("bad_alloc|bad allocation|[Ff]ailed to allocate memory")
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def open_session(
    path: Path, *, intra_op_threads: int = 0, inter_op_threads: int = 1, spin: bool = False
) -> onnxruntime.InferenceSession:
    """A session on the CPU that writes nothing to stderr and gives memory back after each run.

    Args:
        path: the graph; external data lies in its folder.
        intra_op_threads: threads that share one operator; 0 for one on each usable CPU.
        inter_op_threads: threads for operators side by side; more than 1 makes the session run them so.
        spin: whether idle threads wait busily, which is a little quicker and takes whole cores.

    Raises `ModelUnreadable` for a missing file, `ModelInvalid` for one that ONNX Runtime refuses,
    `OutOfMemory` and `OutOfThreads`.
    """
    intra_op_threads = intra_op_threads or usable_cpus()
    _check_threads(intra_op_threads + inter_op_threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = inter_op_threads
    if inter_op_threads > 1:
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False  # patterns are kept for each shape ever seen
    options.log_severity_level = _FATAL
    for kind in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{kind}.allow_spinning", "1" if spin else "0")
    if not path.is_file():
        raise ModelUnreadable(f"could not read {path}: No such file")
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if out_of_memory(error):
            raise OutOfMemory(f"the memory does not suffice to load {path.name}") from None
        raise ModelInvalid(f"ONNX Runtime cannot load {path.name}: {first_line(error)}") from None


def _check_threads(count: int) -> None:
    """Raises `OutOfThreads`; ONNX Runtime waits for ever for threads that cannot be started."""
    over = threading.Event()
    started = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise OutOfThreads(
            f"the system allows only {len(started)} of {count} threads",
            hint="Lower intra_op_parallelism and inter_op_parallelism, or raise the limit of processes.",
        ) from None
    finally:
        over.set()
        for thread in started:
            thread.join()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of ONNX Runtime or NumPy says that memory could not be had."""
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def first_line(error: BaseException) -> str:
    """What an error of ONNX Runtime says, without its codes, its paths and what follows."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return _NOISE.sub("", text)[:300].rstrip(".")


def pad(ids: Sequence[Ids], padding: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids and mask, both int64 [n, longest], of texts given as one array of ids each."""
    longest = max(map(len, ids))
    tokens = np.full((len(ids), longest), padding, np.int64)
    mask = np.zeros((len(ids), longest), np.int64)
    for row, text in enumerate(ids):
        tokens[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return tokens, mask


def check_inputs(names: Collection[str]) -> None:
    """Raises `ModelInvalid` for an input that azpg does not fill, and for one that is missing."""
    for name in sorted(names):
        if name not in KNOWN_INPUTS:
            raise ModelInvalid(
                f"the model has an input {name!r}, which azpg does not know how to fill",
                detail=f"Known inputs are {', '.join(KNOWN_INPUTS)}.",
            )
    for name in KNOWN_INPUTS[:2]:
        if name not in names:
            raise ModelInvalid(f"the model has no input {name!r}")


def input_types(session: onnxruntime.InferenceSession) -> dict[str, Any]:
    """The NumPy type of each input. Raises as `check_inputs`, and for inputs not of whole numbers."""
    types = {}
    for value in session.get_inputs():
        if value.type not in _DTYPES:
            raise ModelInvalid(f"the model's input {value.name!r} is a {value.type}, not of whole numbers")
        types[value.name] = _DTYPES[value.type]
    check_inputs(types)
    return types


def feeds(types: dict[str, Any], ids: Sequence[Ids], padding: int) -> dict[str, npt.NDArray[Any]]:
    """What a session is fed for texts of at least one token each; every token is of type 0."""
    tokens, mask = pad(ids, padding)
    values = {"input_ids": tokens, "attention_mask": mask}
    if "token_type_ids" in types:
        values["token_type_ids"] = np.zeros_like(tokens)
    return {name: values[name].astype(kind, copy=False) for name, kind in types.items()}
