"""The optional parts of azpg: whether what they need is installed."""

from __future__ import annotations

from importlib.util import find_spec

from azpg.errors import NotAvailable


def need(what: str, extra: str, *modules: str) -> None:
    """Raises `NotAvailable`, which names the extra, unless all modules can be imported."""
    for module in modules:
        try:
            missing = find_spec(module) is None
        except ModuleNotFoundError:  # not even its parent
            missing = True
        if missing:
            raise NotAvailable(f"{what} needs what the extra [{extra}] brings: pip install 'azpg[{extra}]'.")
