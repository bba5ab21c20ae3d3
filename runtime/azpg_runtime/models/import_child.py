"""The process in which a model is read and tried, started by `azpg_runtime.models.import_process`."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from pathlib import Path

from azpg_runtime.errors import ModelInvalid, OutOfMemory, RuntimeTwinError
from azpg_runtime.supervision.service import end_with

_FILE_SIZE = 1 << 30
_FILE_GROWTH = 4


def main() -> None:
    """Reads a request from standard input, and writes the reply to standard output, both JSON."""
    parent, seconds, memory = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    end_with(parent)
    bounded = _limit(seconds, memory)
    reply = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no reply
    with os.fdopen(reply, "w", encoding="utf-8") as file:
        json.dump(_reply(json.load(sys.stdin), bounded=bounded), file)
        file.flush()
    os._exit(0)  # nothing is left to be done, and threads of a stranger's graph are not waited for


def _limit(seconds: float, memory: int) -> bool:
    """Sets the limits; returns whether that on files is ours, and not one that was there and is lower."""
    processors = len(os.sched_getaffinity(0))
    _lower(resource.RLIMIT_CPU, int(seconds * processors) + 1)
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CORE, 0)
    return _lower(resource.RLIMIT_FSIZE, _FILE_SIZE + _FILE_GROWTH * memory)


def _lower(limit: int, most: int) -> bool:
    before = [one for one in resource.getrlimit(limit) if one != resource.RLIM_INFINITY]
    lowest = min([most, *before])
    resource.setrlimit(limit, (lowest, lowest))
    return lowest == most


def _reply(request: dict[str, object], *, bounded: bool) -> dict[str, object]:
    try:
        return _import(bounded=bounded, **request)  # type: ignore[arg-type]  # as `ImportRequest` has them
    except RuntimeTwinError as error:
        failure = error
    except MemoryError:
        failure = OutOfMemory("the memory that is allowed does not suffice to read and try the model")
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        failure = ModelInvalid("the model would take far more space in the store than its files take")
    return {
        "error": type(failure).__name__,
        "message": failure.message,
        "detail": failure.detail,
        "hint": failure.hint,
    }


def _import(
    *,
    bounded: bool,
    path: str,
    tokenizer: str | None,
    content: str,
    target: str,
    name: str | None,
    licence: str | None,
    source: str | None,
    expected: dict[str, str],
) -> dict[str, object]:
    # After the limits are set, so that they hold for what these import.
    from azpg_runtime.files import not_written  # noqa: PLC0415
    from azpg_runtime.models.description import TOKENIZER  # noqa: PLC0415
    from azpg_runtime.models.importing import Origin, graph_source, open_source  # noqa: PLC0415
    from azpg_runtime.models.sources import digest_file  # noqa: PLC0415

    origin = Origin(name, licence, source, expected)
    opened = (
        open_source(Path(path), origin)
        if tokenizer is None
        else graph_source(Path(path), Path(tokenizer), origin)
    )
    if opened.known is not None and (Path(content) / opened.known.digest).is_dir():
        return {"description": opened.known.to_json(), "made": False}
    folder = Path(target)
    root = Path(content).parent
    try:
        # Nobody but its owner may write a folder of the store, whatever the umask.
        root.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.parent.mkdir(mode=0o755, exist_ok=True)
        folder.mkdir(mode=0o755)
        description = opened.build(folder)
        if digest_file(opened.tokenizer, copy_to=folder / TOKENIZER) != description.files[TOKENIZER]:
            raise ModelInvalid(f"{opened.tokenizer.name} changed while it was being added")
    except OSError as error:
        if error.errno == errno.EFBIG and bounded:
            raise
        raise not_written(f"to the model store {root}", error) from None
    return {"description": description.to_json(), "made": True}


if __name__ == "__main__":
    main()
