"""What tells a model host of other code from one of the installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import azpg
import azpg_runtime
from azpg_runtime.host.code_version import code_version


def test_other_code_of_the_same_number_is_another_version(tmp_path: Path) -> None:
    installed = Path(azpg_runtime.__file__).parent
    copies = [tmp_path / name for name in ("same", "changed", "without")]
    for copy in copies:
        shutil.copytree(installed, copy)
    with (copies[1] / "host" / "engine.py").open("a") as file:
        file.write("# changed\n")
    (copies[2] / "embedding" / "batching.py").unlink()
    same, changed, without = (code_version(copy) for copy in copies)
    assert same == code_version()
    assert len({same, changed, without}) == 3
    assert all(version.startswith(f"{azpg.__version__}+") for version in (same, changed, without))
