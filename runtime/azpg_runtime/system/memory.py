"""The memory that models and their process may take, and giving back what is not needed any more."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
from pathlib import Path

from azpg_runtime.errors import OutOfMemory

_SHARE = 0.75
_PROCESS_SHARE, _RUNS_SHARE = 0.9, 0.25
_LEAST_FOR_RUNS = 4 << 30
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def default_limit() -> int:
    """Three quarters of the memory that this process can have, in bytes."""
    return int(_SHARE * _available())


def _available() -> int:
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([physical, *cgroup_limits()])


def process_limit(models: int | None) -> int:
    """The private memory in bytes that the process of loaded models may have.

    Beside these it needs threads' stacks, texts that are being tokenised, and the tensors of the runs: a text
    of 8,192 tokens makes some of gigabytes. Files that are mapped do not count.

    Args:
        models: bytes that these may take together; None for `default_limit`.
    """
    available = _available()
    if models is None:
        return max(_LEAST_FOR_RUNS, int(_PROCESS_SHARE * available))
    return models + max(_LEAST_FOR_RUNS, int(_RUNS_SHARE * available))


def limit_process(size: int) -> None:
    """Lets the system refuse this process more private memory, whereupon what asked for it fails.

    Address space may be more: mapped files, and what libraries reserve and never write to.
    """
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    lowest = min([size, *(one for one in (before, most) if one != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, most))


def cgroup_limits(root: Path = _CGROUPS, own: Path = _OWN_CGROUPS) -> list[int]:
    """The memory limits in bytes of the control groups that this process is in, of both versions.

    Args:
        root: where control groups are mounted.
        own: lines of ``ID:CONTROLLERS:PATH``.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, file = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, file = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        # In a container the path may be the host's, of which only the root is to be seen.
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                limits.append(int((folder / file).read_text()))
            if folder == base:
                break
    return limits


def check_available(size: int) -> None:
    """Raises `OutOfMemory` if the system would refuse `size` bytes.

    A tokenizer that runs out of memory ends the process: that must be known before it is loaded.
    """
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise OutOfMemory(f"the system refuses {megabytes(size)}: {error.strerror}") from None


def give_back() -> None:
    """Returns to the system what was freed; glibc would keep much of it for later."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.0f} MB"
