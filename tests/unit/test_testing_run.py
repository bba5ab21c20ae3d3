"""The folder of a run of tests: who uses it, who removes it, and what is never removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from azpg.errors import UsageError
from azpg_runtime.errors import InstanceError
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.testing import PREFIX
from azpg_runtime.testing.run import Run

JOIN = "import sys, pathlib; from azpg_runtime.testing.run import Run"
HOLD = f"{JOIN}; Run(pathlib.Path(sys.argv[1])).join(); print('joined', flush=True); sys.stdin.read()"


@pytest.fixture
def user_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model store of the user's, with something in it."""
    monkeypatch.setenv("AZPG_HOME", str(tmp_path / "users"))
    store = tmp_path / "users" / "models"
    (store / "content").mkdir(parents=True)
    (store / "content" / "weights").write_text("precious")
    return store


@contextmanager
def other_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the folder until it is ended."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        yield process


def test_nothing_is_made_before_somebody_joins(tmp_path: Path) -> None:
    Run(tmp_path / f"{PREFIX}1")
    assert list(tmp_path.iterdir()) == []


def test_the_users_models_are_used_and_outlive_the_run(tmp_path: Path, user_store: Path) -> None:
    run = Run(tmp_path / f"{PREFIX}1")
    run.join()
    assert (run.home.models / "content" / "weights").read_text() == "precious"
    run.remove()
    assert not run.home.root.exists()
    assert (user_store / "content" / "weights").read_text() == "precious"


def test_a_user_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZPG_HOME", str(tmp_path / "nowhere"))
    run = Run(tmp_path / f"{PREFIX}1")
    run.join()
    assert not run.home.models.is_symlink()
    run.remove()


@pytest.mark.skipif(os.geteuid() == 0, reason="root's folder has to let PostgreSQL's user through")
def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    run = Run(tmp_path / f"{PREFIX}1")
    run.join()
    assert run.home.root.stat().st_mode & 0o777 == 0o700
    run.remove()


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    running = tmp_path / f"{PREFIX}1"
    with other_process(running) as process:
        run = Run(tmp_path / f"{PREFIX}2")
        run.join()
        assert running.is_dir()
        run.remove()
        process.communicate(timeout=20)
    assert running.is_dir()


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, user_store: Path) -> None:
    killed = tmp_path / f"{PREFIX}1"
    with other_process(killed) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        assert (killed / "models").is_symlink()
    run = Run(tmp_path / f"{PREFIX}2")
    run.join()
    assert not killed.exists()
    assert (user_store / "content" / "weights").read_text() == "precious"
    run.remove()


def test_a_folder_is_in_use_while_one_of_its_processes_lives(tmp_path: Path) -> None:
    shared = tmp_path / f"{PREFIX}1"
    with other_process(shared) as one, other_process(shared) as two:
        one.send_signal(signal.SIGKILL)
        one.wait(timeout=20)
        run = Run(tmp_path / f"{PREFIX}2")
        run.join()
        assert shared.is_dir()
        run.remove()
        two.communicate(timeout=20)


def test_what_is_kept_stays(tmp_path: Path) -> None:
    kept = tmp_path / f"{PREFIX}1"
    keep = f"{JOIN}; run = Run(pathlib.Path(sys.argv[1])); run.join(); run.keep()"
    subprocess.run([sys.executable, "-c", keep, str(kept)], check=True, timeout=60)
    run = Run(tmp_path / f"{PREFIX}2")
    run.join()
    assert kept.is_dir()
    run.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could remove what belongs to others")
def test_what_belongs_to_others_is_left_alone(tmp_path: Path) -> None:
    others = tmp_path / f"{PREFIX}1"
    others.mkdir()
    (others / "run.lock").write_text("")
    os.chown(others, 12345, 12345)
    run = Run(tmp_path / f"{PREFIX}2")
    run.join()
    run.remove()
    assert (others / "run.lock").exists()


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}file").write_text("")
    (tmp_path / f"{PREFIX}folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "run.lock").write_text("")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    run = Run(tmp_path / f"{PREFIX}1")
    run.join()
    run.remove()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}1").write_text("")
    with pytest.raises(InstanceError, match="belongs to somebody else"):
        Run(tmp_path / f"{PREFIX}1").join()


def test_what_is_gone_already_need_not_be_removed(tmp_path: Path) -> None:
    Run(tmp_path / f"{PREFIX}1").remove()


def test_a_twin_from_elsewhere_has_no_templates(tmp_path: Path) -> None:
    run = Run(tmp_path / f"{PREFIX}1")
    with pytest.raises(UsageError, match="azpg_twin must be a twin that azpg_twin_factory made"):
        run.databases(Instance("mine", home=Home(tmp_path)))
