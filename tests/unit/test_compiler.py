"""What a person is told whose machine has no C compiler: before anything is compiled, and what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (None, "there is none on PATH. Install one, on Debian and Ubuntu by"),
        (
            "gcc-of-nobody -pthread",
            'there is no "gcc-of-nobody", which the variable CC names. Install one, on Debian and Ubuntu by',
        ),
        ("/nonexistent/cc", 'there is no "/nonexistent/cc", which the variable CC names.'),
    ],
)
def test_a_missing_compiler_is_said_at_once(tmp_path: Path, named: str | None, said: str) -> None:
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert cmake is not None, "the extra [lint] brings it"
    environment = {name: value for name, value in os.environ.items() if name != "CC"}
    environment |= {"PATH": str(tmp_path / "empty")} | ({} if named is None else {"CC": named})
    done = subprocess.run(
        [cmake, "-S", str(ROOT / "runtime" / "shim"), "-B", str(tmp_path / "build")],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    words = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert f"azpg needs a C compiler, and {said}" in words, (done.stdout, done.stderr)
    assert '"apt install gcc libc6-dev"' in words
    assert ("or set CC to one that is here" in words) == (named is not None)
    assert words.count("CMake Error") == 1
