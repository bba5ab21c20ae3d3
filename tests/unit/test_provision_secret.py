"""References to secrets, and that these never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from azpg_provision.errors import SpecInvalid
from azpg_provision.spec.secret import Reference, Secret, reference, shown


def test_references(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("hunter2\n")
    assert Reference("file", "dsn").resolve(tmp_path).reveal() == "hunter2"
    assert Reference("env", "A").resolve(tmp_path, {"A": "hunter2"}) == Secret("hunter2")
    assert str(reference("env:A")) == "env:A"
    assert reference("postgresql://host") is None
    with pytest.raises(SpecInvalid, match="the environment variable A is not set: env:A needs it"):
        Reference("env", "A").resolve(tmp_path, {})
    with pytest.raises(SpecInvalid, match=r"file:no: .*no: No such file or directory"):
        Reference("file", "no").resolve(tmp_path)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SpecInvalid, match="is empty: write the value only"):
        Reference("file", "empty").resolve(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(SpecInvalid, match="is not UTF-8"):
        Reference("file", "bytes").resolve(tmp_path)
    (tmp_path / "large").write_text("x" * 70_000)
    with pytest.raises(SpecInvalid, match="is too large"):
        Reference("file", "large").resolve(tmp_path)
    with pytest.raises(SpecInvalid, match="file:/dev/zero: /dev/zero is too large"):
        Reference("file", "/dev/zero").resolve(tmp_path)


def test_a_secret_never_shows() -> None:
    assert "hunter2" not in f"{Secret('hunter2')} {Secret('hunter2')!r} {[Secret('hunter2')]}"
    assert shown("postgresql://a:hunter2@host/x") == "this text"
    assert shown("password=hunter2") == "this text"
    assert shown("plain") == "'plain'"
