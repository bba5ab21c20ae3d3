"""Values between protobuf and Python: the same, or refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.errors import PulumiError
from azpg_runtime.pulumi.values import LARGEST, to_python, to_struct

INFINITE, NONE = float("inf"), float("nan")
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3) | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_what_comes_back_is_what_went(content: dict[str, Any]) -> None:
    try:
        struct = to_struct(content)
    except PulumiError:
        return
    assert to_python(struct) == {name: one for name, one in content.items() if one is not None}


@pytest.mark.parametrize("number", [0, 0.5, -1, LARGEST, -LARGEST, 1e-300])
def test_exact_numbers(number: float) -> None:
    found = to_python(to_struct({"a": [number]}))["a"][0]
    assert (found, isinstance(found, int)) == (number, isinstance(number, int))


@pytest.mark.parametrize("number", [LARGEST + 1, LARGEST + 2, -LARGEST - 1, 10**400, 1e300, INFINITE, NONE])
def test_numbers_that_are_not_exact(number: float) -> None:
    with pytest.raises(PulumiError) as refused:
        to_struct({"a": {"b": ["x", number]}})
    assert str(refused.value) == (
        f"a.b[1] is {str(number)[:40]}, which is not exact in Pulumi. Its numbers are exact from "
        "-9007199254740991 to 9007199254740991. Use a smaller number or, where the type allows it, a text."
    )


@pytest.mark.parametrize("number", [float(2**53), -1e300, INFINITE, NONE])
def test_numbers_that_may_have_been_others(number: float) -> None:
    """2**53 + 1 arrives as 2**53: nobody can tell."""
    struct = Struct()
    struct.update({"a": {"b": [number]}})
    with pytest.raises(PulumiError, match=re.escape("a.b[0] is ")):
        to_python(struct)
