"""The user that PostgreSQL runs as, where azpg has to make it."""

from __future__ import annotations

import os
import pwd
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from azpg import process
from azpg_runtime.postgres.account import server_account

WITHOUT_SBIN = "/usr/local/bin:/usr/bin:/bin"


@pytest.fixture
def new_user() -> Iterator[str]:
    """The name of a user that does not exist, and is removed."""
    if os.geteuid() != 0:
        pytest.skip("only root makes users")
    name = f"azpg-{uuid.uuid4().hex[:8]}"
    yield name
    program = process.find_program("userdel")
    assert program is not None
    subprocess.run([program, name], check=True)


def test_a_user_is_made_where_path_has_no_sbin(new_user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", WITHOUT_SBIN)
    found = server_account(new_user, create=True)
    entry = pwd.getpwnam(new_user)
    assert (found.name, found.uid, found.gid) == (new_user, entry.pw_uid, entry.pw_gid)
    assert entry.pw_shell == "/bin/false"


def test_programs_of_administrators_are_found_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary, administrators = tmp_path / "bin", tmp_path / "sbin"
    for folder in (ordinary, administrators):
        folder.mkdir()
    monkeypatch.setattr(process, "_ADMINISTRATORS", (str(administrators),))
    monkeypatch.setenv("PATH", str(ordinary))
    assert process.find_program("makeuser") is None
    for folder in (administrators, ordinary):
        program = folder / "makeuser"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert process.find_program("makeuser") == str(program)
