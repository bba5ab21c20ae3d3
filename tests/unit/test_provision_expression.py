"""The source expression: exactly one, whatever is tried."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pglast import parser

from azpg_provision.spec.expression import columns_of, joined, unjoined

GOOD = {
    "title": {"title"},
    "Title": {"title"},
    '"Title"': {"Title"},
    "title || ': ' || description": {"title", "description"},
    "(a, b)": {"a", "b"},
    "CASE WHEN a IN ('x', 'y') THEN (ARRAY[a, b])[1] END": {"a", "b"},
    """'%s' || "Q""x;--" || '{}'""": {'Q"x;--'},
    "$$a; -- b$$ || c": {"c"},
    "CASE WHEN a IS NULL THEN 'x' ELSE b END": {"a", "b"},
    """a::text COLLATE "C" """: {"a"},
    "title\n||\nbody": {"title", "body"},
    "(a).b": {"a"},
    "data->>'text'": {"data"},
    "jsonb_path_query_array(a, '$.x')::text": {"a"},
}


@pytest.mark.parametrize("text", GOOD)
def test_an_expression_and_its_columns(text: str) -> None:
    assert columns_of(text) == GOOD[text]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("a\0b", "holds a NUL character"),
        ("a" * 10_001, "has 10001 characters: use 10000 at most"),
        ("a, b", "is not exactly one expression"),
        ("1; DROP TABLE x", "holds a semicolon"),
        ("a -- x", "holds a comment"),
        ("a /* x */", "holds a comment"),
        ("a) + (b", 'is no SQL expression: syntax error at or near ")"'),
        ("a) FROM t WHERE (true", "is no SQL expression"),
        ("a) UNION (SELECT 1", "is no SQL expression"),
        ("a UNION SELECT b", "is not exactly one expression"),
        ("a AS b", "has a name of its own: leave AS out"),
        ("a FROM t", "is not exactly one expression"),
        ("a INTO t", "is not exactly one expression"),
        ("a LIMIT 1", "is not exactly one expression"),
        ("a ORDER BY a", "is not exactly one expression"),
        ("a WHERE a", "is not exactly one expression"),
        ("a FOR UPDATE", "is not exactly one expression"),
        ("DISTINCT a", "is not exactly one expression"),
        ("*", "is no SQL expression"),
        ("t.*", "names a column with its table, or *"),
        ("t.a", "names a column with its table, or *"),
        ("(SELECT 1)", "holds a subquery"),
        ("EXISTS (SELECT 1)", "holds a subquery"),
        ("ARRAY(SELECT 1)", "holds a subquery"),
        ("a IN (SELECT b)", "holds a subquery"),
        ("$1", "holds a parameter ($1)"),
        ("count(*)", "holds an aggregate"),
        ("string_agg(a, b ORDER BY a)", "holds an aggregate"),
        ("row_number() OVER ()", "holds a window"),
        ("DEFAULT", "holds DEFAULT"),
        ("'a", "is no SQL expression: unterminated quoted string"),
        ("$$a", "is no SQL expression: unterminated dollar-quoted string"),
        ("{}", "is no SQL expression"),
        ("(-" * 3000 + "a" + ")" * 3000, "is nested too deeply"),
    ],
    ids=lambda one: repr(one[:20]),
)
def test_what_is_not_one_expression(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"use|leave|nested") as caught:
        columns_of(text)
    assert str(caught.value).startswith(said)


_TOKENS = st.sampled_from(
    "a b ( ) , ; ' \" $$ $1 -- /* */ || + SELECT FROM AS UNION CASE WHEN THEN END 1 :: text \n * . [ ] {} %s".split(
        " "
    )
)


@given(st.lists(_TOKENS, max_size=12).map(" ".join) | st.text(max_size=40))
def test_whatever_it_is_it_stays_where_it_is_put(text: str) -> None:
    try:
        columns_of(text)
    except ValueError:
        return
    statements = parser.parse_sql(f"SELECT 'before' || ({text}\n)::text || 'after' FROM t WHERE true")
    assert len(statements) == 1
    ((target,), clause) = (statements[0].stmt.targetList, statements[0].stmt.fromClause)
    assert target.val.rexpr.val.sval == "after"
    assert clause[0].relname == "t"


@given(
    st.lists(
        st.text(min_size=1, max_size=20).filter(lambda name: "\0" not in name),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_joined_columns_are_one_expression_over_them(names: list[str]) -> None:
    assert columns_of(joined(names)) == {name.encode()[:63].decode(errors="ignore") for name in names}


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), min_size=1, unique=True
    )
)
def test_columns_that_were_joined_are_told_from_an_expression(names: list[str]) -> None:
    assert unjoined(joined(names)) == tuple(names)
    assert unjoined(f"{joined(names)} || ''") == ()
