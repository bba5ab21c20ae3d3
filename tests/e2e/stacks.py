"""One offline stack, worked with as people do: by `azpg pulumi`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.home import Home

TIMEOUT = 200.0


class Stack:
    """The stack `offline` of a project in one home."""

    def __init__(self, home: Home, project: Path, tools: Path) -> None:
        self.home = home
        self.twin = ArmTwin(home)
        self._project = project
        self.environment = {
            **os.environ,
            "AZPG_HOME": str(home.root),
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        }

    def azpg(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`azpg` with this stack's home."""
        done = subprocess.run(
            [sys.executable, "-m", "azpg", *arguments],
            cwd=self._project,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
        assert not check or done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def pulumi(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`azpg pulumi`."""
        return self.azpg("pulumi", *arguments, check=check)

    def configure(self, *settings: str) -> None:
        """Sets configuration keys, or parts of them, each given as KEY=VALUE."""
        plain = (argument for setting in settings for argument in ("--plaintext", setting))
        self.pulumi("config", "set-all", "--path", *plain)

    def up(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`azpg pulumi up` without questions."""
        return self.pulumi("up", "--yes", "--non-interactive", "--skip-preview", *arguments, check=check)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in clear."""
        outputs: dict[str, Any] = json.loads(
            self.pulumi("stack", "output", "--json", "--show-secrets").stdout
        )
        return outputs

    def resources(self) -> list[dict[str, Any]]:
        """What the stack's state holds of Azure."""
        deployment = json.loads(self.pulumi("stack", "export").stdout)["deployment"]
        return [one for one in deployment.get("resources", []) if one["type"].startswith("azure-native:")]

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection to the server with nothing but the stack's outputs."""
        outputs = self.outputs()
        return psycopg.connect(
            host=outputs["host"],
            port=outputs["port"],
            user=outputs["admin_user"],
            password=outputs["admin_password"],
            dbname=database,
            sslmode="require",
            autocommit=True,
        )

    @contextmanager
    def arm(self) -> Iterator[dict[str, str]]:
        """The environment of a program that uses the SDK beside Pulumi."""
        with_twin = {**self.environment, **self.twin.environment()}
        before = dict(os.environ)
        os.environ.update(with_twin)
        try:
            yield with_twin
        finally:
            os.environ.clear()
            os.environ.update(before)

    def end(self) -> None:
        """Stops the twin and every server that it made."""
        self.twin.stop(delete=True)
