"""How much memory the building of an index is given."""

from __future__ import annotations

from azpg_provision.index.definition import Method

_DEFAULT_M = 16
_ELEMENT = 256
"""Bytes that pgvector keeps per element of a graph beside the vector and its neighbours, rounded up."""
_NEIGHBOUR = 24
"""Bytes per neighbour; an element has 2 m of them on the lowest level and m on each of 1 / (m - 1) above."""
_SPARE = 1.1
SMALLEST, LARGEST = 64 << 20, 8 << 30
"""Bytes that are always worth asking for, and never asked for, whatever an index would take."""


def wanted(method: Method, *, rows: int, dimensions: int, parameters: dict[str, int]) -> int:
    """An estimate of the bytes with which the index is built without a second pass.

    Source: the structures of pgvector's ``hnsw.h`` and the k-means sample of ``ivfbuild.c`` (50 rows a list).
    """
    vector = 8 + 4 * dimensions
    if method is Method.IVFFLAT:
        lists = parameters.get("lists", 100)
        # The k-means samples, the centres, and for each sample its bounds to every centre.
        samples = min(rows, max(50 * lists, 10_000))
        return int((samples + 2 * lists) * vector + 4 * samples * lists * _SPARE)
    m = parameters.get("m", _DEFAULT_M)
    neighbours = _NEIGHBOUR * m * (2 + 1 / max(1, m - 1))
    return int(rows * (vector + _ELEMENT + neighbours) * _SPARE)


def given(wanted: int, *, current: int, shared_buffers: int) -> int:
    """The bytes to build with: what is wanted, within what the server can be supposed to have.

    Nothing tells a client how much memory a server has. Azure sets `shared_buffers` to a quarter of it, so
    that as much again is safe; a setting that somebody made larger is kept.
    """
    return max(current, min(max(wanted, SMALLEST), max(shared_buffers, SMALLEST), LARGEST))
