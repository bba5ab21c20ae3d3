"""`azpg pulumi` before Pulumi itself has its say; what it does then is tested in e2e."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from azpg_runtime.home import Home


@pytest.fixture
def pulumi(tmp_path: Path) -> Path:
    """A folder with a program named pulumi, which must not be reached."""
    path = tmp_path / "bin" / "pulumi"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\necho reached >&2\nexit 3\n")
    path.chmod(0o755)
    return path.parent


def azpg(home: Home, cwd: Path, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "azpg", "pulumi", *arguments],
        cwd=cwd,
        env={**os.environ, "AZPG_HOME": str(home.root), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_pulumi(home: Home, tmp_path: Path) -> None:
    done = azpg(home, tmp_path, "/nowhere", "up")
    assert done.returncode == 1
    assert done.stderr == (
        "azpg: pulumi is not on PATH. Install it as Pulumi's documentation says; or run `make tools` in azpg's "
        "sources, and put their .cache/tools on PATH.\n"
    )


def test_without_a_program(home: Home, tmp_path: Path, pulumi: Path) -> None:
    done = azpg(home, tmp_path, str(pulumi), "up", "--yes")
    assert done.returncode == 1
    assert done.stderr == (
        "azpg: there is no Pulumi.yaml in . or above. Go to the project's folder, or name it with --cwd.\n"
    )


def test_a_stack_that_none_is(home: Home, tmp_path: Path, pulumi: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: mine\nruntime: python\n")
    done = azpg(home, tmp_path, str(pulumi), "up", "-s", "../../other")
    assert done.returncode == 1
    assert done.stderr == (
        "azpg: the stack name '../../other' is not allowed. Use 1 to 100 letters, digits, hyphens, underscores "
        "and dots, not a hyphen first.\n"
    )


def test_what_pulumi_refuses_is_said(
    home: Home, tmp_path: Path, pulumi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "the-callers")
    (pulumi / "pulumi").write_text("#!/bin/sh\necho reached$PULUMI_CONFIG_PASSPHRASE >&2\nexit 3\n")
    (tmp_path / "Pulumi.yaml").write_text("name: mine\nruntime: python\n")
    inner = tmp_path / "inner"
    inner.mkdir()
    path = f"{pulumi}{os.pathsep}{os.environ['PATH']}"
    done = azpg(home, tmp_path.parent, path, "up", "-C", str(inner), "-s", "other")
    assert done.returncode == 1
    assert done.stderr == "azpg: `pulumi stack init --non-interactive other` failed: reached\n"
    ended = subprocess.run(
        [sys.executable, "-m", "azpg", "arm", "down"],
        env={**os.environ, "AZPG_HOME": str(home.root)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0
