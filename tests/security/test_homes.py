"""A folder of somebody else is not taken for one's own: neither what it says, nor the programs in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from azpg_runtime.errors import InstanceError
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from tests.command_line import run

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
@pytest.mark.parametrize("command", [("up",), ("status",), ("psql",), ("dsn",), ("models", "list"), ("ca",)])
def test_a_home_of_somebody_else(tmp_path: Path, command: tuple[str, ...]) -> None:
    root = tmp_path / "home"
    root.mkdir(mode=0o700)
    os.chown(root, NOBODY, NOBODY)
    done = run(*command, status=1, AZPG_HOME=str(root))
    assert f"AZPG_HOME cannot be {root}: the folder belongs to nobody" in done.stderr
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
def test_a_home_that_others_may_write(tmp_path: Path, mode: int) -> None:
    root = tmp_path / "a home"
    root.mkdir()
    root.chmod(mode)
    with pytest.raises(InstanceError, match="others may write in the folder") as caught:
        Instance("one", home=Home(root)).up()
    assert caught.value.hint == f"Forbid that with `chmod go-w '{root}'`."
    root.chmod(mode & 0o755)
    Home(root).create()


def test_a_home_that_ones_group_may_write(tmp_path: Path) -> None:
    """Refused, unless it is a group of one's own."""
    tmp_path.chmod(0o770)
    Home(tmp_path).check()
    if os.geteuid() == 0:
        os.chown(tmp_path, 0, NOBODY)
        with pytest.raises(InstanceError, match=r"mode 0770"):
            Home(tmp_path).check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_where_sockets_would_be_and_somebody_else_was_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azpg_runtime.home._runtime_root", lambda: tmp_path / "azpg-0")
    (tmp_path / "azpg-0").mkdir(mode=0o700)
    os.chown(tmp_path / "azpg-0", NOBODY, NOBODY)
    with pytest.raises(InstanceError, match="belongs to somebody else") as caught:
        Home(tmp_path / "home").instance("one").create_runtime()
    assert "mkdir -m 700 ~/.run && export XDG_RUNTIME_DIR=~/.run" in (caught.value.hint or "")
