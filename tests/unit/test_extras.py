"""What an extra brings is asked for by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from azpg.errors import NotAvailable
from azpg.extras import install_command, need

if TYPE_CHECKING:
    from importlib.metadata._meta import SimplePath


def test_what_is_installed_is_enough() -> None:
    need("this", "test", "pytest", "json.decoder")


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inner", "json.no_such_module"])
def test_what_is_missing_is_named_by_its_extra(module: str) -> None:
    with pytest.raises(NotAvailable) as error:
        need("the ARM twin", "arm", "json", module)
    assert str(error.value) == f"the ARM twin needs what the extra [arm] brings: {install_command('arm')}."


class Installed(Distribution):
    def __init__(self, origin: str | None) -> None:
        self._origin = origin

    def read_text(self, filename: str) -> str | None:
        return self._origin if filename == "direct_url.json" else None

    def locate_file(self, path: str | os.PathLike[str]) -> SimplePath:
        return Path(path)


def test_an_extra_is_installed_from_where_azpg_came(tmp_path: Path) -> None:
    checkout = tmp_path / "my azpg"
    checkout.mkdir()
    origin = json.dumps({"url": checkout.as_uri(), "dir_info": {}})
    assert install_command("arm", Installed(origin)) == f"pip install '{checkout}[arm]'"
    checkout.rmdir()
    assert install_command("arm", Installed(origin)) == "pip install 'azpg[arm]'"


@pytest.mark.parametrize("origin", [None, "", "{", "{}", '{"url": "https://example.org/azpg.whl"}'])
def test_without_a_checkout_azpg_is_named(origin: str | None) -> None:
    assert install_command("arm", Installed(origin)) == "pip install 'azpg[arm]'"


BASE_ONLY = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"matplotlib", "pglast", "yaml"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
from azpg.cli import main
main()
"""


@pytest.mark.parametrize(
    "command",
    [
        "plan", "apply", "drift", "preflight", "vectorize", "worker", "search products cats",
        "index evaluate products",
    ],
)  # fmt: skip
def test_without_the_extra_each_provisioning_command_names_it(command: str) -> None:
    arguments = [sys.executable, "-c", BASE_ONLY, *command.split()]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"azpg: provisioning needs what the extra [provision] brings: {install_command('provision')}.\n",
    )
    done = subprocess.run([*arguments, "--help"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
