"""Sets up what is committed as on a machine that has never seen azpg: `make fresh`.

The README's two commands set themselves up in a clone, with an empty environment, a new HOME, new caches and
a PATH without sbin. Where the kernel lets us mount, what earlier work may have left is hidden from them:
the headers and build files of installed servers, /usr/local, and, for root, the user that azpg makes.
What could not be hidden is said.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.executable).resolve()
SERVER_USER = "azpg"
REGISTRY = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_PROXY", "SSL_CERT_FILE")
"""How a registry is reached is the machine's affair, and no leftover of ours."""


def hideable() -> list[Path]:
    """The folders to hide that are here; never the one that our Python or its libraries lie in."""
    folders = [
        Path("/usr/include/postgresql"),
        *Path("/usr/lib/postgresql").glob("*/lib/pgxs"),
        Path("/usr/local"),
    ]
    needed = {PYTHON, Path(sys.base_prefix).resolve()}
    return [
        folder
        for folder in folders
        if folder.is_dir() and not any(path.is_relative_to(folder) for path in needed)
    ]


def mounts(scratch: Path) -> tuple[list[str], list[str]]:
    """The shell commands that hide everything, each able to fail alone; and what cannot be hidden at all."""
    visible = []
    commands = [
        _attempt(f"mount -t tmpfs none {shlex.quote(str(folder))}", str(folder)) for folder in hideable()
    ]
    if Path("/usr/local").is_dir() and Path("/usr/local") not in hideable():
        visible.append(f"/usr/local, where {PYTHON} lies")
    if os.geteuid() == 0:
        layer = shlex.quote(str(scratch))
        commands.append(
            _attempt(
                f"mount -t tmpfs none {layer} && mkdir {layer}/upper {layer}/work"
                f" && mount -t overlay none -o lowerdir=/etc,upperdir={layer}/upper,workdir={layer}/work /etc"
                f" && sed -i '/^{SERVER_USER}:/d' /etc/passwd /etc/group /etc/shadow /etc/gshadow",
                f"the user {SERVER_USER!r}",
            )
        )
    return commands, visible


def _attempt(command: str, what: str) -> str:
    return f"({command}) 2>/dev/null || echo {shlex.quote(f'fresh: could not hide {what}')}"


def namespace() -> list[str]:
    """How a command gets mounts of its own; empty where the kernel does not allow it."""
    options = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-current-user", "--keep-caps"]
    command = ["unshare", *options, "--"]
    try:
        done = subprocess.run([*command, "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return []
    return command if done.returncode == 0 else []


def environment(home: Path) -> dict[str, str]:
    """The whole environment of the commands."""
    kept = {name: os.environ[name] for name in REGISTRY if name in os.environ}
    return {**kept, "HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"}


STEPS = f"""
set -eu
run() {{ make PYTHON={shlex.quote(str(PYTHON))} "$@"; }}
run .venv/installed
shim=$(find .venv -name azpg_server.so | head -n 1)
before=$(stat -c %Y.%i "$shim")
run .venv/developed
if [ "$before" != "$(stat -c %Y.%i "$shim")" ]; then
    echo "fresh: make test compiled the shim a second time"
    exit 1
fi
run test PYTEST_ARGS="--collect-only -qq" >collected.txt || {{ cat collected.txt; exit 1; }}
run test PYTEST_ARGS="-q tests/compat tests/integration/test_readme.py"
"""


def main() -> int:
    """Runs the steps; returns their exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="azpg-fresh-") as folder:
        Path(folder).chmod(0o755)  # the server's user has to enter it
        clone, home, scratch = (Path(folder) / name for name in ("clone", "home", "scratch"))
        try:
            subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            sys.exit(f"fresh: needs git, and {ROOT} to be a clone: what is committed is what it tries.")
        for path in (home, scratch):
            path.mkdir()
        inside = namespace()
        commands, visible = (
            mounts(scratch) if inside else ([], ["anything: this kernel gives us no mounts of our own"])
        )
        for what in visible:
            print(f"fresh: could not hide {what}")
        if inside:
            print(f"fresh: hidden are {', '.join(map(str, hideable()))}", flush=True)
        script = "\n".join([*commands, STEPS])
        done = subprocess.run(
            [*inside, shutil.which("bash") or "sh", "-c", script],
            cwd=clone,
            env=environment(home),
            check=False,
        )
    print(f"fresh: {'set up' if done.returncode == 0 else 'failed'} after {time.monotonic() - began:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
