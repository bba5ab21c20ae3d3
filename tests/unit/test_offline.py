"""The twin reports nothing to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import tiny

# Sessions are made in two places: while a model is added, and to embed.
CODE = """
import sys; from pathlib import Path
from azpg_runtime.models import ModelStore
from azpg_runtime.embedding import Embedder
Embedder(ModelStore(Path(sys.argv[2])).add("tiny", Path(sys.argv[1]))).embed(["a text"])
"""


def test_onnxruntime_prepares_no_reports(tmp_path: Path) -> None:
    """It would keep the device's id and what it is going to send in the user's cache."""
    home = tmp_path / "home"
    home.mkdir()
    source = tiny.write(tmp_path / "source")
    quiet = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    subprocess.run(
        [sys.executable, "-c", CODE, str(source), str(tmp_path / "models")],
        env={**environment, "HOME": str(home), "PYTHONPATH": ":".join(sys.path)},
        check=True,
    )
    assert list(home.iterdir()) == []
