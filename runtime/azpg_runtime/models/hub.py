"""Taking a model's files from the Hugging Face hub, or from its cache on this machine.

hf_hub_download takes a broken connection up again, but not a pull whose process has ended: so what the cache
does not have is fetched here, into a folder of our own, where the next pull finds what there is of a file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is loaded lazily
from huggingface_hub.utils.tqdm import tqdm

from azpg_runtime.errors import ModelConflict, ModelError, ModelPullFailed
from azpg_runtime.models.catalog import HubSource
from azpg_runtime.models.sources import digest_file

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_TRUE = {"1", "ON", "YES", "TRUE"}
_DISK_FULL = {errno.EDQUOT, errno.ENOSPC}


@contextmanager
def files_from_hub(
    source: HubSource,
    place: Path,
    *,
    name: str,
    sha256: Mapping[str, str],
    progress: Callable[[str, int, int], None],
    there: Callable[[], bool],
) -> Iterator[Path | None]:
    """A folder that holds the source's files, until the end of the `with`.

    It is the hub's own cache if that has them all. Otherwise they are put together below `place`, which keeps
    what was fetched when a pull is stopped, whatever stops it, and the next one goes on from there. One pull
    at a time does so; None if `there` became true while this one waited for another.

    HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE mean what they mean for every tool. A file that is not what
    `sha256`, or the hub itself, says is deleted.

    Raises `ModelPullFailed` with what to do next, and `ModelError` if `place` cannot be written.
    """
    with _quiet():
        cached = {file: _in_cache(source, file, name) for file in source.files}
        for file, path in cached.items():
            if path is not None:
                _verify(source, file, path, name, sha256)
        missing = [_ask(source, file, name, sha256) for file, path in cached.items() if path is None]
    if not missing:
        first = source.files[0]
        yield Path(cached[first] or "").parents[len(PurePosixPath(first).parts) - 1]
        return
    folder = place / f"{source.repository}--{source.revision}".replace("/", "--")
    with ExitStack() as held:
        with _writing(folder):
            held.enter_context(_alone(folder.with_name(f"{folder.name}.lock")))
        if there():
            yield None
            return
        with _quiet(), _writing(folder):
            for file, path in cached.items():
                if path is not None:
                    _link(path, folder / "files" / file)
            for remote in missing:
                _fetch(source, remote, folder, name, progress)
        try:
            yield folder / "files"
        except (ModelPullFailed, ModelConflict):  # they are fetched, and of no use
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library says nothing: what went wrong is said by us, once."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other pull appends to the same files; the lock is never removed, the kernel frees it."""
    place = lock.parent
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)  # what is not whole yet is nobody else's business
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"could not write to {folder}: {error.strerror or error}") from None


@dataclass(frozen=True, slots=True)
class _Remote:
    """A file as the hub describes it; `sha256` is what it must be, None for a file that is taken as it is."""

    file: str
    url: str
    etag: str
    size: int | None
    sha256: str | None

    def part(self, folder: Path) -> Path:
        """Where it is kept until it is whole: somewhere else when the hub has other content."""
        etag = hashlib.sha256(self.etag.encode()).hexdigest()[:16]
        return folder / "parts" / self.file.replace("/", "--") / etag


def _in_cache(source: HubSource, file: str, name: str) -> Path | None:
    with _explained(source, file, name), suppress(LocalEntryNotFoundError):
        return Path(hf_hub_download(source.repository, file, revision=source.revision, local_files_only=True))
    return None


def _ask(source: HubSource, file: str, name: str, sha256: Mapping[str, str]) -> _Remote:
    """What the hub says of a file."""
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        what = f"{file} of {source.repository}"
        raise _failed(name, f"HF_HUB_OFFLINE is set, and {what} is not in the hub's cache")
    endpoint = _endpoint()
    with _explained(source, file, name):
        url = hf_hub_url(source.repository, file, revision=source.revision, endpoint=endpoint)
        said = get_hf_file_metadata(url, endpoint=endpoint)
    if said.etag is None or said.commit_hash is None:  # somebody else's page, such as a proxy's
        raise _failed(name, f"{_CREDENTIALS.sub('', endpoint)} did not answer as a hub does for {file}")
    # Large files have their SHA-256 for an ETag.
    of_hub = said.etag if _SHA256.fullmatch(said.etag) else None
    return _Remote(file, url, said.etag, said.size, sha256.get(file) or of_hub)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _fetch(
    source: HubSource, remote: _Remote, folder: Path, name: str, progress: Callable[[str, int, int], None]
) -> None:
    """Puts a file where the model's files are put together, going on where an earlier pull was stopped."""
    target = folder / "files" / remote.file
    if remote.sha256 is not None and target.is_file() and digest_file(target).sha256 == remote.sha256:
        return
    part = remote.part(folder)
    part.parent.mkdir(parents=True, exist_ok=True)
    for old in part.parent.iterdir():
        # Nothing is added to what could not be checked afterwards.
        known = remote.sha256 is not None and remote.size is not None
        if old != part or not known or old.stat().st_size > (remote.size or 0):
            old.unlink()
    with part.open("ab") as file:
        done = file.tell()
        progress(remote.file, done, remote.size or 0)
        with _explained(source, remote.file, name, part):
            http_get(
                remote.url,
                file,
                resume_size=done,
                headers={**build_hf_headers(), "Accept-Encoding": "identity"},  # a range counts these bytes
                expected_size=remote.size,
                displayed_filename=remote.file,
                tqdm_class=_bar(remote.file, progress),
            )
    if remote.sha256 is not None and (found := digest_file(part).sha256) != remote.sha256:
        part.unlink()
        raise _damaged(source, remote.file, name, found, remote.sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)


def _link(path: Path, target: Path) -> None:
    """The same file, or a copy on another disk: a model's folder has no links out of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(path.resolve())
    except OSError:
        shutil.copyfile(path, target)


@contextmanager
def _explained(source: HubSource, file: str, name: str, part: Path | None = None) -> Iterator[None]:
    """Turns what the library raises into `ModelPullFailed`."""
    what = f"{file} of {source.repository}"
    try:
        yield
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        raise _failed(name, f"it has no {what} at {source.revision}") from None
    except HfHubHTTPError as error:
        if part is not None and error.response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)  # or every pull would ask for that range again
        raise _failed(name, f"it answered {error.response.status_code} for {what}") from None
    except Exception as error:  # the client lets errors of its HTTP library through
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise
        reason = _CREDENTIALS.sub("", str(error)).splitlines()[0][:200] if str(error) else "no reason given"
        raise _failed(name, f"{_CREDENTIALS.sub('', _endpoint())}, {what}: {reason}") from None


def _failed(name: str, detail: str) -> ModelPullFailed:
    return ModelPullFailed(
        f"could not fetch {name} from the Hugging Face hub",
        detail=f"{detail}.",
        hint=f"Fetch the files where there is a network and add them: `azpg models add {name} PATH`. Or set "
        "HF_ENDPOINT to a mirror and pull again.",
    )


def _bar(file: str, progress: Callable[[str, int, int], None]) -> type[tqdm]:
    """A progress bar that draws nothing and tells `progress`."""

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            draw_nothing: Any = super().__init__
            draw_nothing(*arguments, **{**options, "disable": True})
            self.n = options.get("initial", 0) or 0
            progress(file, self.n, self.total or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self.n += int(n or 0)
            progress(file, self.n, self.total or 0)
            return None

    return Bar


def _verify(source: HubSource, file: str, path: Path, name: str, sha256: Mapping[str, str]) -> None:
    """Deletes a file of the hub's cache, and raises, if it is not what it should be."""
    blob = path.resolve()
    # The hub's cache names large files by their SHA-256.
    expected = sha256.get(file) or (blob.name if _SHA256.fullmatch(blob.name) else None)
    if expected is None:
        return
    found = digest_file(path).sha256
    if found != expected:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise _damaged(source, file, name, found, expected)


def _damaged(source: HubSource, file: str, name: str, found: str, expected: str) -> ModelPullFailed:
    return ModelPullFailed(
        f"could not fetch {name}: {file} of {source.repository} is damaged",
        detail=f"Its SHA-256 is {found}, expected was {expected}.",
        hint="It was deleted; pull again.",
    )
