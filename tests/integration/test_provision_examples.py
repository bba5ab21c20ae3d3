"""The examples run on the twin as they are."""

from __future__ import annotations

import os
import re
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


def azpg(home: Home, folder: Path, command: str, *arguments: str) -> str:
    """What a command prints that is run in a folder."""
    done = subprocess.run(
        [*AZPG, command, *arguments],
        cwd=folder,
        env={**os.environ, "AZPG_HOME": str(home.root)},
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def apply_twice(home: Home, path: Path) -> None:
    assert "Done: " in azpg(home, path.parent, "apply", path.name, "--yes")
    again = azpg(home, path.parent, "apply", path.name, "--yes")
    assert again.endswith(f"Nothing to do: local default is as {path.name} says.\n")
    assert azpg(home, path.parent, "drift", path.name).endswith(
        f"No drift: local default is as {path.name} says.\n"
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_is_applied_and_has_no_drift(path: Path, everything: Home) -> None:
    apply_twice(everything, path)


def test_the_spec_of_the_page_is_applied_as_it_stands(minilm: StoredModel, tmp_path: Path) -> None:
    """docs/provisioning.md shows every key; with its shop.sql it runs on the server that `azpg up` makes."""
    page = (ROOT / "docs" / "provisioning.md").read_text(encoding="utf-8")
    spec, *others = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert not others
    init = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "azpg.yaml").write_text(spec, encoding="utf-8")
    (tmp_path / "shop.sql").write_text(init, encoding="utf-8")
    home = new_home()
    try:
        Instance("default", home=home).up(Wishes(durable=False))
        apply_twice(home, tmp_path / "azpg.yaml")
        question = ["products", "something for the rain"]
        assert "Rain jacket" in azpg(home, tmp_path, "search", *question).splitlines()[1]
    finally:
        remove_home(home)
