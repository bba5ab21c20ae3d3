"""Prints what extras of azpg require, a requirement a line: `python tools/extras.py test lint`."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(extras: list[str], declared: dict[str, list[str]]) -> list[str]:
    """The requirements of `extras` and of the extras of azpg that they name, each once.

    Args:
        extras: names of extras.
        declared: `project.optional-dependencies` of pyproject.toml.
    """
    needed: dict[str, None] = {}
    waiting, seen = [*extras], set()
    while waiting:
        extra = waiting.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        for requirement in declared[extra]:
            own = re.fullmatch(r"azpg\[([a-z,]+)\]", requirement)
            if own:
                waiting += own[1].split(",")
            else:
                needed[requirement] = None
    return list(needed)


if __name__ == "__main__":
    with PROJECT.open("rb") as file:
        project = tomllib.load(file)["project"]
    print(*requirements(sys.argv[1:], project["optional-dependencies"]), sep="\n")
