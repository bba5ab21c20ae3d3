"""Taking a model's files from the Hugging Face hub, or from its cache on this machine."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils.tqdm import tqdm

from azpg_runtime.errors import ModelPullFailed
from azpg_runtime.models.catalog import HubSource
from azpg_runtime.models.sources import digest_file

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_TRUE = {"1", "ON", "YES", "TRUE"}


def fetch_from_hub(
    source: HubSource, *, name: str, sha256: Mapping[str, str], progress: Callable[[str, int, int], None]
) -> Path:
    """The folder, in the hub's own cache, that holds the source's files; what is missing there is fetched.

    HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE mean what they mean for every tool; a connection that breaks is
    taken up again where it broke. A file that is not what `sha256`, or the hub itself, says is deleted.

    Raises `ModelPullFailed` with what to do next.
    """
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # what went wrong is said below, once
    try:
        paths = {file: _fetch(source, file, name, progress) for file in source.files}
    finally:
        logger.setLevel(level)
    for file, path in paths.items():
        _verify(source, file, path, name, sha256)
    first = source.files[0]
    return paths[first].parents[len(PurePosixPath(first).parts) - 1]


def _fetch(source: HubSource, file: str, name: str, progress: Callable[[str, int, int], None]) -> Path:
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    offline = constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE
    download = partial(hf_hub_download, source.repository, file, revision=source.revision, endpoint=endpoint)
    what = f"{file} of {source.repository}"
    try:
        with suppress(LocalEntryNotFoundError):
            return Path(download(local_files_only=True))
        if offline:
            raise _failed(name, f"HF_HUB_OFFLINE is set, and {what} is not in the hub's cache")
        # Asked first, because hf_hub_download tries for long before it says that there is no network.
        url = hf_hub_url(source.repository, file, revision=source.revision, endpoint=endpoint)
        get_hf_file_metadata(url, endpoint=endpoint)
        return Path(download(tqdm_class=_bar(file, progress)))
    except ModelPullFailed:
        raise
    except EntryNotFoundError:
        raise _failed(name, f"it has no {file} of {source.repository} at {source.revision}") from None
    except HfHubHTTPError as error:
        raise _failed(name, f"it answered {error.response.status_code} for {what}") from None
    except Exception as error:  # the client lets errors of its HTTP library through
        reason = _CREDENTIALS.sub("", str(error)).splitlines()[0][:200] if str(error) else "no reason given"
        raise _failed(name, f"{_CREDENTIALS.sub('', endpoint)}, {what}: {reason}") from None


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
    blob = path.resolve()
    # The hub's cache names large files by their SHA-256.
    expected = sha256.get(file) or (blob.name if _SHA256.fullmatch(blob.name) else None)
    if expected is None:
        return
    found = digest_file(path).sha256
    if found != expected:
        blob.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise ModelPullFailed(
            f"could not fetch {name}: {file} of {source.repository} is damaged",
            detail=f"Its SHA-256 is {found}, expected was {expected}.",
            hint="It was deleted; pull again.",
        )
