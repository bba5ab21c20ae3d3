"""What an extra brings is asked for by name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from azpg.errors import NotAvailable
from azpg.extras import need


def test_what_is_installed_is_enough() -> None:
    need("this", "test", "pytest", "json.decoder")


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.inner", "json.no_such_module"])
def test_what_is_missing_is_named_by_its_extra(module: str) -> None:
    with pytest.raises(NotAvailable) as error:
        need("the ARM twin", "arm", "json", module)
    assert str(error.value) == "the ARM twin needs what the extra [arm] brings: pip install 'azpg[arm]'."


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
        "azpg: provisioning needs what the extra [provision] brings: pip install 'azpg[provision]'.\n",
    )
    done = subprocess.run([*arguments, "--help"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
