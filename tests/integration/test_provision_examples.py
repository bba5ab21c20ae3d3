"""The examples run on the twin as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.description import Wishes
from azpg_runtime.postgres.instance import Instance
from tests.command_line import AZPG
from tests.conftest import CACHE, MODEL, ROOT, new_home, remove_home

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def everything(minilm: StoredModel) -> Iterator[Home]:
    """A home where the instance `default` is up, and whose store has every model: one has a stand-in."""
    home = new_home()
    home.models.unlink()
    shutil.copytree(CACHE / "models" / "content" / minilm.digest, home.models / "content" / minilm.digest)
    for name in (MODEL, "multilingual-e5-small"):
        kept = home.models / "names" / f"{name}.json"
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(CACHE / "models" / "names" / f"{MODEL}.json", kept)
    Instance("default", home=home).up(Wishes(durable=False))
    yield home
    remove_home(home)


def environment(home: Home) -> dict[str, str]:
    return {**os.environ, "AZPG_HOME": str(home.root)}


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_applied_and_has_no_drift(path: Path, everything: Home) -> None:
    def azpg(command: str, *options: str) -> str:
        done = subprocess.run(
            [*AZPG, command, path.name, *options],
            cwd=path.parent,
            env=environment(everything),
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    assert "Done: " in azpg("apply", "--yes")
    assert azpg("apply", "--yes").endswith(f"Nothing to do: local default is as {path.name} says.\n")
    assert azpg("drift").endswith(f"No drift: local default is as {path.name} says.\n")
