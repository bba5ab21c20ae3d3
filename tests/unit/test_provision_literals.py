"""String literals are taken out of an expression, and what is left is the same expression."""

from __future__ import annotations

import pytest

from azpg_provision.spec.literals import template


@pytest.mark.parametrize(
    ("text", "filled", "values"),
    [
        ("title", "title", ()),
        ("title || 'ü' || body", "title ||  $1  || body", ("ü",)),
        ("'a''b' || E'\\n' || $x$'$x$", " $1  ||  $2  ||  $3 ", ("a'b", "\n", "'")),
        ("U&'!0041' UESCAPE '!' || 'b'", " $1  ||  $2 ", ("A", "b")),
        ("'a'\n'b'", " $1 ", ("ab",)),
        ("m.a 'x' || title", " CAST( $1  AS m.a ) || title", ("x",)),
        ("'ü' || m.a(3) 'x'", " $1  ||  CAST( $2  AS m.a(3) )", ("ü", "x")),
        ("\"it's\" || 'a'", '"it\'s" ||  $1 ', ("a",)),
        ("x::geometry('POINT')::text || 'a'", "x::geometry('POINT')::text ||  $1 ", ("a",)),
        ("interval '1' day", "interval '1' day", ()),
        ("timestamp(3) '2026-01-01'", "timestamp(3) '2026-01-01'", ()),
        ("N'a' || B'1'::text || X'1F'::text", "N'a' || B'1'::text || X'1F'::text", ()),
        ("extract('year' FROM x)", "extract('year' FROM x)", ()),
        (
            "normalize(x, NFC) || extract(day FROM y)::text",
            "normalize(x, NFC) || extract(day FROM y)::text",
            (),
        ),
        ("'{}' || $a${}$a$", " $1  ||  $2 ", ("{}", "{}")),
    ],
)
def test_literals_are_places(text: str, filled: str, values: tuple[str, ...]) -> None:
    found = template(text)
    assert found is not None
    assert found.filled([f"${number}" for number in range(1, len(values) + 1)]) == filled
    assert found.values == values
    assert found.types == ()


def test_calls_that_may_be_casts_are_told() -> None:
    found = template("""m._a('x') || f('y', 'z') || "G"('v') || h(a => 'w')""")
    assert found is not None
    assert dict(found.calls) == {0: '"m"."_a"', 3: '"G"'}  # by a name of its own, it is none


@pytest.mark.parametrize(
    ("default", "types"),
    [
        ("DEFAULT 'x' ON EMPTY", ()),
        ("RETURNING m.t DEFAULT 'x' ON EMPTY", ('"m"."t"',)),
        ("RETURNING m.t[] DEFAULT 'x' ON EMPTY DEFAULT 'y' ON ERROR", ('"m"."t"[]', '"m"."t"[]')),
        ("RETURNING text DEFAULT 'x'::m.t ON EMPTY", ('"m"."t"',)),
    ],
)
def test_a_default_is_told_by_its_type(default: str, types: tuple[str, ...]) -> None:
    found = template(f"JSON_VALUE(about, '$.a' {default})")
    assert found is not None
    assert (found.values, found.types) == (("$.a",), types)


def test_a_type_with_a_literal_of_its_own_is_not_understood() -> None:
    assert template("geometry('POINT') 'x'") is None
