"""The pure parts of indexes: their names and the memory they are built with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.index import memory
from azpg_provision.index.definition import NAME_LIMIT, Method, VectorIndex

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: len(name.encode()) <= NAME_LIMIT
)


def column(table: str, name: str) -> VectorColumn:
    return VectorColumn(
        1, "public", table, name, (Key("id", "bigint"),), "body", "m:v1", "", 3, bytes(32), Sync.NONE
    )


@given(NAMES, NAMES, st.sampled_from(Method))
def test_names_fit_and_stay(table: str, name: str, method: Method) -> None:
    index = VectorIndex(method)
    found = index.name(column(table, name))
    assert len(found.encode()) <= NAME_LIMIT
    assert found == index.name(column(table, name))
    assert found.endswith(f"_{method}")


def test_long_names_that_begin_alike_differ() -> None:
    index = VectorIndex()
    assert index.name(column("t" * 60, "a")) != index.name(column("t" * 60, "b"))


@given(
    st.sampled_from(Method),
    st.integers(0, 10**9),
    st.integers(1, 16_000),
    st.integers(2, 100),
)
def test_more_rows_want_no_less_memory(method: Method, rows: int, dimensions: int, m: int) -> None:
    parameters = {"lists": m} if method is Method.IVFFLAT else {"m": m}
    less = memory.wanted(method, rows=rows, dimensions=dimensions, parameters=parameters)
    more = memory.wanted(method, rows=2 * rows, dimensions=dimensions, parameters=parameters)
    assert 0 <= less <= more


@given(st.integers(0, 2**50), st.integers(2**16, 2**40), st.integers(2**17, 2**40))
def test_memory_stays_within_the_server(wanted: int, current: int, shared_buffers: int) -> None:
    found = memory.given(wanted, current=current, shared_buffers=shared_buffers)
    assert found >= current
    assert found <= max(current, shared_buffers, memory.SMALLEST)
    assert found <= max(current, memory.LARGEST)
