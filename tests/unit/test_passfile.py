"""The passfile says what libpq reads, whatever the names in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres.passfile import Passfile

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


def fields(line: str) -> list[str]:
    """The fields as libpq's passwordFromFile reads them: a backslash takes the next character as it is."""
    found, at = [""], 0
    while at < len(line):
        if line[at] == "\\":
            at += 1
            found[-1] += line[at]
        elif line[at] == ":":
            found.append("")
        else:
            found[-1] += line[at]
        at += 1
    return found


@given(user=NAMES)
@example(user="a:b")
@example(user="a\\")
@example(user="\\:")
def test_libpq_reads_what_was_meant(user: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        passfile = Passfile(Path(folder) / "passfile")
        password = passfile.prepare(host="127.0.0.1", user=user)
        line = passfile.path.read_text().rstrip("\n")
        assert fields(line) == ["127.0.0.1", "*", "*", user, password]
        assert passfile.password() == password


def test_the_password_stays_when_the_line_changes(tmp_path: Path) -> None:
    passfile = Passfile(tmp_path / "passfile")
    passfile.path.write_text("127.0.0.1:2:*:a:secret\n")  # as earlier versions wrote it
    assert passfile.prepare(host="127.0.0.1", user="a") == "secret"
    assert passfile.path.read_text() == "127.0.0.1:*:*:a:secret\n"
    assert passfile.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"a:b:c", b"1:2:3:4:", b"\xff\xfe", b"\n\n"])
def test_reading_never_invents_a_password(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "passfile"
    for _ in range(2):
        with pytest.raises(InstanceError, match=r"passfile is missing or damaged. `azpg up` gives the admin"):
            Passfile(path).password()
        path.write_bytes(content)
    assert path.read_bytes() == content
    assert len(Passfile(path).prepare(host="h", user="u")) >= 32


def test_passwords_differ(tmp_path: Path) -> None:
    made = {Passfile(tmp_path / str(n)).prepare(host="h", user="u") for n in range(20)}
    assert len(made) == 20
