"""docs/extensions.md says what the bundled PostgreSQL have of Azure's extensions."""

from __future__ import annotations

import pytest

from azpg.profiles import COMMON, LOCAL_AI, PRELOADABLE
from azpg_runtime.postgres.bundled import BUILDS
from tests.unit.test_tools import tool

TABLE = tool("extensions_table")


def test_the_page_is_up_to_date() -> None:
    text = TABLE.PAGE.read_text()
    assert TABLE.page(text) == text, "python tools/extensions_table.py makes it anew"


def test_everything_that_azure_lists_is_in_one_table() -> None:
    made = TABLE.tables()
    for name in {*COMMON, LOCAL_AI}:
        assert (f"| `{name}` |" in made["present"]) is not (f"| `{name}` |" in made["absent"])
    for name in PRELOADABLE:
        assert f"| `{name}` |" in made["libraries"]
    assert made["refused"].startswith("`autoinc`, `file_fdw`, ")


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.label)
def test_what_a_build_has(build: object) -> None:
    found = TABLE.available(build)
    assert found["azure_local_ai"] == "1.0.0"
    assert {"plpgsql", "vector"} <= found.keys()
