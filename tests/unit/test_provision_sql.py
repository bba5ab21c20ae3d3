"""No statement of a look looks a name up: what fits better in another schema would be called in its place."""

from __future__ import annotations

import ast as python
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pglast import ast, parse_sql

import azpg_provision

LOOKS = [
    "live/count.py",
    "live/owner.py",
    "live/reading.py",
    "live/immutable.py",
    "live/pgvector.py",
    "live/text.py",
    "index/building.py",
    "index/catalog.py",
    "index/evaluation.py",
    "index/probe.py",
    "plan/sampling.py",
    "apply/lock.py",
    "commands/databases.py",
]
FOLDER = Path(azpg_provision.__path__[0])


def statements() -> dict[str, str]:
    """The queries of a look: files of SQL, and texts in Python."""
    found = {
        path.name: re.sub(r"\{\w*\}", "shop.products", path.read_text())
        for path in sorted(FOLDER.glob("live/*.sql"))
    }
    for path in [*(FOLDER / name for name in LOOKS), *sorted(FOLDER.glob("preflight/*.py"))]:
        for node in python.walk(python.parse(path.read_text())):
            if isinstance(node, python.Constant) and isinstance(node.value, str):
                text = node.value.strip()
                if text.startswith("SELECT "):
                    found[f"{path.parent.name}/{path.name}:{node.lineno}"] = re.sub(
                        r"\{\w*\}", "shop.products", text
                    )
    return found


STATEMENTS = statements()


def looked_up(text: str) -> list[str]:
    """What a statement names without its schema: functions, operators, types and tables."""
    statement = re.sub(r"%\(\w+\)s|%s", "NULL", text)
    trees = parse_sql(statement)
    own = {one.ctename for tree in trees for one in nodes(tree) if isinstance(one, ast.CommonTableExpr)}
    return [name for tree in trees for one in nodes(tree) for name in named(one, own)]


def named(node: ast.Node, own: set[str]) -> Iterator[str]:
    if isinstance(node, ast.FuncCall) and len(node.funcname) < 2:
        yield f"{node.funcname[0].sval}()"
    if isinstance(node, ast.A_Expr) and len(node.name) < 2:
        yield node.name[0].sval
    if isinstance(node, ast.TypeName) and node.names and len(node.names) < 2:
        yield node.names[0].sval
    if isinstance(node, ast.RangeVar) and node.schemaname is None and node.relname not in own:
        yield node.relname
    if isinstance(node, ast.JoinExpr) and (node.usingClause or node.isNatural):
        yield "USING"
    if isinstance(node, ast.CaseExpr) and node.arg is not None:
        yield "CASE x WHEN y"
    if isinstance(node, ast.SubLink) and node.testexpr is not None and len(node.operName or ()) < 2:
        yield "IN (SELECT)"


def nodes(tree: Any) -> Iterator[ast.Node]:
    if isinstance(tree, tuple):
        for one in tree:
            yield from nodes(one)
    elif isinstance(tree, ast.Node):
        yield tree
        for name in tree:
            yield from nodes(getattr(tree, name))


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_name_has_its_schema(name: str) -> None:
    assert looked_up(STATEMENTS[name]) == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM pg_catalog.pg_class",
        "SELECT 1 FROM pg_class",
        "SELECT 1 FROM pg_catalog.pg_class WHERE relname = %s",
        "SELECT 1 FROM pg_catalog.pg_class WHERE relname IN (%s)",
        "SELECT 1 FROM pg_catalog.pg_class WHERE oid IS DISTINCT FROM %(a)s",
        "SELECT 1 FROM pg_catalog.pg_class WHERE oid = ANY (%s)",
        "SELECT relname::text FROM pg_catalog.pg_class",
        "SELECT 1 FROM pg_catalog.pg_class JOIN pg_catalog.pg_type USING (oid)",
        "SELECT 1 FROM pg_catalog.pg_class WHERE oid IN (SELECT oid FROM pg_catalog.pg_type)",
        "SELECT CASE relkind WHEN 'r' THEN 1 END FROM pg_catalog.pg_class",
    ],
)
def test_what_is_looked_up_is_seen(text: str) -> None:
    assert looked_up(text)


@pytest.mark.parametrize(
    "path", sorted(FOLDER.rglob("*.sql")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_no_comment_has_a_place_for_a_name(path: Path) -> None:
    """A name may hold the end of a line, and what follows it would be run."""
    assert not re.search(r"--[^'\n]*(?<!\{)\{\w+\}(?!\})", path.read_text())
