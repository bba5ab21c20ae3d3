"""Lists of extension names, as people write them and as Azure echoes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg.extensions import join, normalise

WRITTEN = st.text(st.sampled_from(" \tvVeEcCtToOrR-_,,,") | st.characters(), max_size=40)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("", []),
        (" , ,, ", []),
        ("vector", ["vector"]),
        ("VECTOR, Azure_Local_AI", ["vector", "azure_local_ai"]),
        ("vector,azure_local_ai,VECTOR ,", ["vector", "azure_local_ai"]),
        ("uuid-ossp,\tpg_cron\n", ["uuid-ossp", "pg_cron"]),
        ("b,a", ["b", "a"]),
    ],
)
def test_normalise(written: str, names: list[str]) -> None:
    assert normalise(written) == names
    assert join(names) == ",".join(names)


@settings(deadline=None)
@given(written=WRITTEN)
def test_normalising_twice_changes_nothing(written: str) -> None:
    names = normalise(written)
    assert normalise(join(names)) == names


@settings(deadline=None)
@given(written=WRITTEN)
def test_names_are_clean_and_there_once(written: str) -> None:
    names = normalise(written)
    assert len(names) == len(set(names))
    for name in names:
        assert name
        assert name == name.strip().lower()
        assert "," not in name


@settings(deadline=None)
@given(names=st.lists(st.sampled_from(["vector", "pg_trgm", "uuid-ossp", "azure_ai"])), data=st.data())
def test_case_spaces_and_empty_elements_do_not_matter(names: list[str], data: st.DataObject) -> None:
    blanks = st.text(" \t", max_size=2)
    cases = st.sampled_from([str.upper, str.lower, str.title])
    written = ",".join(
        data.draw(blanks) + data.draw(cases)(name) + data.draw(blanks) + data.draw(st.sampled_from(["", ","]))
        for name in names
    )
    assert normalise(written) == list(dict.fromkeys(names))
