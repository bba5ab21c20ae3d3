"""Files are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime import files
from azpg_runtime.errors import NotWritten
from azpg_runtime.files import not_written, sync_folder, write_atomically


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_written_is_read(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a file"
        write_atomically(path, text)
        assert path.read_bytes() == text.encode()
        assert list(Path(folder).iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_the_mode_is_exact_whatever_the_umask_and_the_old_file(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    before = os.umask(0o077 if mode != 0o600 else 0)
    try:
        write_atomically(path, "new", mode=mode)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == mode
    assert path.read_text() == "new"


def test_a_secret_is_never_readable_by_others_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", spy)
    write_atomically(tmp_path / "passfile", "secret", mode=0o600)
    assert seen[0] == 0o600


def test_the_file_and_then_its_folder_reach_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    order: list[tuple[str, str]] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        what = "folder" if os.path.samestat(os.fstat(descriptor), tmp_path.stat()) else "file"
        order.append((what, path.read_text()))
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", spy)
    write_atomically(path, "new")
    assert order == [("file", "old"), ("folder", "new")]


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_encoded_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udcff")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("untouched")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert target.read_text() == "untouched"
    assert not link.is_symlink()


def test_a_reader_sees_the_old_text_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = ["a" * 100_000, "b" * 100_000]
    write_atomically(path, texts[0])
    writing = threading.Event()

    def write() -> None:
        for turn in range(50):
            write_atomically(path, texts[turn % 2])
        writing.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not writing.is_set():
        seen.add(path.read_text())
    thread.join()
    assert seen <= set(texts)


def test_syncing_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("number", "state"),
    [(errno.ENOSPC, "53100"), (errno.EDQUOT, "53100"), (errno.EFBIG, "53100"), (errno.EACCES, "58030")],
)
def test_what_could_not_be_written_and_why(number: int, state: str) -> None:
    error = not_written("the file x", OSError(number, os.strerror(number)))
    assert (error.sqlstate, error.message) == (state, f"could not write the file x: {os.strerror(number)}")
    assert isinstance(error, NotWritten)
