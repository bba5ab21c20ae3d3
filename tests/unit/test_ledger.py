"""docs/COMPATIBILITY.md names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "COMPATIBILITY.md").read_text(), flags=re.MULTILINE)[1:]
_NAMED = re.compile(r"(?:(\w+/\w+\.py)|…)(?:::(\w+))?")


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize("section", SECTIONS, ids=[section.splitlines()[0] for section in SECTIONS])
def test_every_row_names_tests_that_exist(section: str) -> None:
    """`…` is one of the files that the section has named."""
    files: dict[str, str] = {}
    problems = []
    for cells in rows(section):
        assert len(cells) == 3, cells
        for file, test in _NAMED.findall(cells[2]):
            if file and not (ROOT / "tests" / file).is_file():
                problems.append(f"{file} is not there")
                continue
            if file:
                files[file] = (ROOT / "tests" / file).read_text()
            where = [files[file]] if file else list(files.values())
            if test and not any(f"def {test}(" in text for text in where):
                problems.append(f"{test} is in none of {sorted(files)}")
    assert rows(section)
    assert problems == []
