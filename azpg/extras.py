"""The optional parts of azpg: whether what they need is installed, and the command that installs it."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from azpg.errors import NotAvailable


def need(what: str, extra: str, *modules: str) -> None:
    """Raises `NotAvailable`, which names the extra, unless all modules can be imported."""
    for module in modules:
        try:
            missing = find_spec(module) is None
        except ModuleNotFoundError:  # not even its parent
            missing = True
        if missing:
            raise NotAvailable(f"{what} needs what the extra [{extra}] brings: {install_command(extra)}.")


def install_command(extra: str, installed: Distribution | None = None) -> str:
    """The command that installs an extra from where azpg itself was installed.

    Args:
        extra: the name of an extra.
        installed: the distribution to ask for its origin; None stands for azpg's own.
    """
    return f"pip install {shlex.quote(f'{_origin(installed)}[{extra}]')}"


def _origin(installed: Distribution | None) -> str:
    """The checkout that azpg was installed from (PEP 610); its name if there is none, or none any more."""
    try:
        recorded = (installed or distribution("azpg")).read_text("direct_url.json")
        url = urlsplit(json.loads(recorded or "{}").get("url", ""))
    except (PackageNotFoundError, ValueError):
        return "azpg"
    folder = Path(unquote(url.path)) if url.scheme == "file" else None
    return str(folder) if folder is not None and folder.is_dir() else "azpg"
