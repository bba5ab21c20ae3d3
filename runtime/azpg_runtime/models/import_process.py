"""Importing in a process of its own, which has limits: what a stranger's model does there ends there.

The libraries that read models and run them are large, and written for files of one's own. A graph may loop
for ever where no signal reaches, a tokenizer may take all memory, and either may end the process.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from azpg_runtime import errors
from azpg_runtime.errors import ModelInvalid, OutOfMemory, RuntimeTwinError
from azpg_runtime.models.description import ModelDescription

_MEMORY = 3 << 30
_MEMORY_GROWTH = 8
"""Address space of an import: what Python and the libraries reserve, and times the size of the files."""

_SECONDS = 60.0
_SECONDS_A_BYTE = 1e-6
"""Time of an import: MiniLM takes 2 seconds, and a model of 2 GB for long texts minutes on two cores."""

_MOST_FILES = 10_000
_NO_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "Cannot allocate memory")
_QUIET = {
    "MALLOC_ARENA_MAX": "2",  # each arena is address space
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """What an import may take; None for as much as its files' size justifies.

    Attributes:
        seconds: from beginning to end; of processor time, that for each processor.
        memory: bytes of address space.
    """

    seconds: float | None = None
    memory: int | None = None

    def of(self, *paths: Path) -> tuple[float, int]:
        """Seconds and bytes for the model in these files and folders."""
        size = sum(map(_size, paths))
        seconds = self.seconds or _SECONDS + _SECONDS_A_BYTE * size
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return seconds, self.memory or _MEMORY + min(_MEMORY_GROWTH * size, machine)


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What is to be imported, and where to.

    Attributes:
        path: a folder or .onnx file, absolute.
        tokenizer: the tokenizer.json of an .onnx file, if it is named.
        name: see `azpg_runtime.models.importing.Origin`, as `licence`, `source` and `expected`.
        content: the store's folder of content: what it has is not made again.
        target: the new folder for the model's files, made when they are written.
    """

    path: str
    tokenizer: str | None
    content: str
    target: str
    name: str | None = None
    licence: str | None = None
    source: str | None = None
    expected: Mapping[str, str] = field(default_factory=dict)


class Imports:
    """Runs imports, one in each thread that asks for it."""

    def __init__(self, limits: ImportLimits) -> None:
        self._limits = limits
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(self, request: ImportRequest) -> tuple[ModelDescription, bool]:
        """Imports a model: its description, and whether its files were made, and are in the target folder.

        Raises what the import raises, `ModelInvalid` for one that does not end in time or ends its process,
        and `OutOfMemory`.
        """
        paths = [Path(one) for one in (request.path, request.tokenizer) if one is not None]
        seconds, memory = self._limits.of(*paths)
        # In memory: for a file there would be no folder where the disk is full.
        with os.fdopen(os.memfd_create("azpg-import-errors"), "w+b") as errors_file:
            process = self._start(errors_file.fileno(), seconds, memory)
            try:
                with process:
                    try:
                        reply, _ = process.communicate(json.dumps(asdict(request)).encode(), timeout=seconds)
                    except BaseException:  # an interrupt, too
                        process.kill()
                        raise
            except subprocess.TimeoutExpired:
                raise _too_long(seconds) from None
            finally:
                with self._lock:
                    self._running.discard(process)
            if process.returncode == 0:
                return _read(reply)
            errors_file.seek(0)
            said = errors_file.read().decode(errors="replace")
        raise _ended(process.returncode, said, seconds, memory)

    def stop(self) -> None:
        """Ends the imports that are under way: they fail."""
        with self._lock:
            for process in self._running:
                process.kill()

    def _start(self, stderr: int, seconds: float, memory: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "azpg_runtime.models.import_child"]
        command += [str(os.getpid()), str(seconds), str(memory)]
        with self._lock:
            process = subprocess.Popen(
                command,
                cwd="/",
                env={**os.environ, **_QUIET},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
            self._running.add(process)
        return process


def _size(path: Path) -> int:
    """Bytes that a file or a folder's files take on the disk: a hole is no reason for more time."""
    files = itertools.islice(path.rglob("*"), _MOST_FILES) if path.is_dir() else [path]
    total = 0
    for file in files:
        try:
            total += 512 * file.stat().st_blocks
        except OSError:  # the import says so
            continue
    return total


def _read(reply: bytes) -> tuple[ModelDescription, bool]:
    raw: dict[str, Any] = json.loads(reply)
    if "error" not in raw:
        return ModelDescription.from_json(raw["description"]), bool(raw["made"])
    failure = getattr(errors, raw["error"])
    assert issubclass(failure, RuntimeTwinError)
    raise failure(raw["message"], detail=raw["detail"], hint=raw["hint"])


def _too_long(seconds: float) -> ModelInvalid:
    return ModelInvalid(
        f"reading and trying the model took longer than {seconds:g} seconds",
        detail="So much is allowed for a model of its size.",
        hint="If it is a model that you trust, lower its max_seq_length in sentence_bert_config.json, or run "
        "`azpg models add` on a machine that is less busy.",
    )


def _ended(status: int, said: str, seconds: float, memory: int) -> RuntimeTwinError:
    if status == -signal.SIGXCPU:
        return _too_long(seconds)
    if any(words in said for words in _NO_MEMORY):
        return OutOfMemory(
            f"reading and trying the model takes more memory than the {memory / 1e9:.1f} GB that are allowed",
            hint="A model may take that much for its size: this one may be damaged.",
        )
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
    last = (said.strip().splitlines() or ["It said nothing"])[-1][:300].rstrip(".")
    return ModelInvalid(
        f"the process that read and tried the model {how}",
        detail=f"{last}.",
        hint="The model's files may be damaged: take them again from where they are from.",
    )
