"""The offline stacks of a home, as the files of Pulumi's own backend hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def states(root: Path) -> dict[str, Path]:
    """The file of each stack, by PROJECT/STACK.

    Args:
        root: the folder of all that Pulumi keeps offline; see `workspace`.
    """
    return {
        f"{path.parent.name}/{path.stem}": path for path in sorted(root.glob("state/.pulumi/stacks/*/*.json"))
    }


def with_resources(root: Path) -> Iterator[str]:
    """The stacks that have made something and not deleted it, as PROJECT/STACK."""
    for name, path in states(root).items():
        try:
            latest = json.loads(path.read_text())["checkpoint"]["latest"] or {}
        except (ValueError, KeyError, TypeError):
            continue  # no stack, or one that Pulumi itself will complain about
        if latest.get("resources"):
            yield name
