"""azpg.yaml: what it may say, and what is said of each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from azpg_provision.errors import SpecInvalid
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import parse, read
from azpg_provision.spec.schema import schema

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "docs" / "schemas" / "spec.json"

GOOD = """\
version: 1
target: {local: default}
server:
  allow: [pg_trgm]
  preload: [pg_stat_statements]
  settings: {intra_op_parallelism: 2, spin_control: false}
models:
- {uri: all-minilm-l6-v2, path: all-minilm-l6-v2}
databases:
- name: shop
  extensions: [vector, {name: age, version: "1.5", cascade: true}, azure_local_ai]
  grants:
  - {role: app, member_of: azure_local_ai_setting_manager}
  - {role: app, privileges: [select, insert], on: {schema: public, table: products}}
  - {role: app, privileges: [usage], on: {schema: public}}
  tables:
  - name: products
    key: [id]
    embeddings:
    - column: embedding
      source: [title, description]
      model: all-minilm-l6-v2:v1
      prefix: "passage: "
      dimensions: 384
      sync: queue
      index: {method: hnsw, opclass: vector_l2_ops, m: 16, ef_construction: 64}
    - {column: short, expression: "upper(title)", model: all-minilm-l6-v2:v1, index: none}
"""
LEAST = """\
version: 1
models: [{uri: m:v1}]
databases:
- name: shop
  extensions: [vector, azure_local_ai]
  tables:
  - name: products
    embeddings:
    - column: e
      source: [title]
      model: m:v1
"""


def problems(text: str | bytes, folder: Path = ROOT) -> list[str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(SpecInvalid) as caught:
        parse(data, name="azpg.yaml", folder=folder)
    return caught.value.problems


def parsed(text: str, folder: Path = ROOT) -> Spec:
    return parse(text.encode(), name="azpg.yaml", folder=folder)


def test_everything_that_a_spec_can_say() -> None:
    spec = parsed(GOOD)
    (database,) = spec.databases
    (table,) = database.tables
    first, second = table.embeddings
    assert spec.models[0].uri == "all-minilm-l6-v2:v1"
    assert [extension.name for extension in database.extensions] == ["vector", "age", "azure_local_ai"]
    assert database.grants[1].on is not None
    assert (first.sync, first.prefix, second.sync) == ("queue", "passage: ", "trigger")
    assert first.index is not None
    assert first.index.parameters == {"m": 16, "ef_construction": 64}
    assert second.index is None
    assert (table.schema_, second.text, second.columns) == ("public", "upper(title)", {"title"})


def test_the_least_that_a_spec_says() -> None:
    spec = parsed(LEAST)
    assert spec.models[0].source == "m"
    assert spec.databases[0].tables[0].key is None


def test_columns_are_joined_by_one_blank() -> None:
    (table,) = parsed(GOOD).databases[0].tables
    assert table.embeddings[0].text == (
        """CASE WHEN coalesce(("title")::text, ("description")::text) IS NOT NULL """
        """THEN substr(coalesce(' ' || ("title")::text, '') || coalesce(' ' || ("description")::text, ''), 2) END"""
    )


def test_every_mistake_is_said_at_once_with_its_line() -> None:
    text = """\
version: 2
servr: {}
models:
- uri: 3
databases:
- name: ""
  extensions: [vector, Vector]
  tables:
  - name: products
    embeddings:
    - column: e
      source: []
      model: m
      sync: triger
      dimensions: 0
"""
    assert problems(text) == [
        "azpg.yaml:1: version: 2 is not allowed: use 1.",
        "azpg.yaml:2: servr: is unknown: did you mean server?",
        "azpg.yaml:4: models[0].uri: 3 is not a text; put it in quotes if it looks like a number.",
        "azpg.yaml:6: databases[0].name: '' is empty: use 1 to 63 bytes.",
        "azpg.yaml:7: databases[0].extensions[1].name: 'Vector' is no extension's name: use lower case, such as vector.",
        "azpg.yaml:12: databases[0].tables[0].embeddings[0].source: is empty: name at least one.",
        "azpg.yaml:14: databases[0].tables[0].embeddings[0].sync: 'triger' is not allowed: use 'generated', 'trigger', 'queue' or 'none'.",
        "azpg.yaml:15: databases[0].tables[0].embeddings[0].dimensions: 0 is too small: use 1 or more.",
    ]


def changed(old: str, new: str, text: str = LEAST) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "azpg.yaml:1: the file is empty: begin with `version: 1`"),
        ("- 1", "azpg.yaml:1: this is no mapping: begin with `version: 1`"),
        ("a: [", "azpg.yaml:1: this is no YAML: expected the node content, but found '<stream end>'."),
        ("a: b: c", "azpg.yaml:1: this is no YAML: mapping values are not allowed here."),
        ("a: 1\n\tb: 2", "azpg.yaml:2: this is no YAML: found character '\\t' that cannot start any token."),
        ("version: 1\n---\nversion: 1", "azpg.yaml:1: the file holds several documents: use one"),
        ("version: &one 1", "azpg.yaml:1: anchors and aliases (& and *) are not taken"),
        ("a: *b", "azpg.yaml:1: anchors and aliases (& and *) are not taken"),
        ("a: !!python/object/apply:os.system [ls]", "azpg.yaml:1: tags (!) are not taken: leave it out."),
        ("? [a]\n: 1", "azpg.yaml:1: a key is a mapping or a list: use a text."),
        ("a: \0", "azpg.yaml:1: the character U+0000 cannot stand in YAML"),
        (b"a: 1\nb: \xff", "azpg.yaml:2: byte 8 is not UTF-8: save the file as UTF-8."),
        (b"#" * 1_000_001, "azpg.yaml:1: the file has 1000001 bytes: use 1000000 at most."),
        ("[" * 40, "azpg.yaml:1: this is 31 levels deep: a spec has fewer than 30."),
        ("[" * 200_000, "azpg.yaml:1: this is 31 levels deep: a spec has fewer than 30."),
        ("{a: " * 200_000, "azpg.yaml:1: this is 31 levels deep: a spec has fewer than 30."),
    ],
    ids=lambda one: repr(one[:20]),
)
def test_what_is_no_document(text: str | bytes, said: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(said)


def test_laughs_are_refused_before_they_grow() -> None:
    lines = ['a: &a ["lol","lol","lol","lol","lol","lol","lol","lol","lol"]']
    lines += [
        f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    assert problems("\n".join(lines)) == [
        "azpg.yaml:1: anchors and aliases (& and *) are not taken: write what they stand for in each place."
    ]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("1: x", "azpg.yaml:12: the key '1' is no text: use a text."),
        ("null: x", "azpg.yaml:12: the key 'null' is no text: use a text."),
        ("true: x", "azpg.yaml:12: the key 'true' is no text: use a text."),
        (
            "<<: {a: 1}",
            "azpg.yaml:12: the key '<<' is no text: merge keys (<<) are not taken: write the keys out.",
        ),
        ("version: 1", "azpg.yaml:12: version: is there twice, first in line 1: keep one."),
    ],
)
def test_keys_are_texts_and_there_once(key: str, said: str) -> None:
    assert said in problems(LEAST + key + "\n")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("column: e", "columm: e", "embeddings[0].columm: is unknown: did you mean column?"),
        ("column: e", "zzzz: e", "embeddings[0].zzzz: is unknown: use backend, column, dimensions, expression, index, model, prefix, source, sync, timeout."),
        ("model: m:v1", "model: m:v2", "embeddings[0].model: m:v2 is not in models: did you mean m:v1?"),
        ("model: m:v1", "model: other", "embeddings[0].model: other:v1 is not in models: add it, or use m:v1."),
        ("uri: m:v1", "uri: 'm:'", "models[0].uri: 'm:' is no model: use NAME:VERSION, such as all-minilm-l6-v2:v1."),
        ("{uri: m:v1}", "{uri: m:v1}, {uri: m}", "models[1].uri: m:v1 is there twice: name it once."),
        ("[vector, azure_local_ai]", "[vector]", "databases[0].tables: need the extensions vector and azure_local_ai: add azure_local_ai to extensions."),
        ("[vector, azure_local_ai]", "[vector]", "models: need the extension azure_local_ai in a database: add it to its extensions."),
        ("[vector, azure_local_ai]", "[vector, vector, azure_local_ai]", "extensions[1].name: vector is there twice: name it once."),
        ("[vector, azure_local_ai]", "[vector, azure_local_ai, {name: age, version: 1.5}]", "extensions[2].version: 1.5 is not a text; put it in quotes if it looks like a number."),
        ("name: shop", "name: template1", "databases[0].name: template1 belongs to the server: use a database of your own."),
        ("name: products", f"name: {'x' * 64}", f"tables[0].name: '{'x' * 57}…' has 64 bytes of UTF-8: use 63 at most."),
        ("name: products", f"name: {'ä' * 32}", f"tables[0].name: '{'ä' * 32}' has 64 bytes of UTF-8: use 63 at most."),
        ("name: products", '"name": "a\\0b"', "tables[0].name: 'a\\x00b' holds a NUL character, which PostgreSQL does not take: leave it out."),
        ("name: products", "name: products\n    key: [a, a]", "tables[0].key[1]: a is there twice: name it once."),
        ("source: [title]", "source: [title, title]", "embeddings[0].source[1]: title is there twice: name it once."),
        ("source: [title]", "source: [e]", "embeddings[0].source: e is a column of vectors: embed texts only."),
        ("source: [title]", "expression: 'a; b'", "embeddings[0].expression: holds a semicolon: use one expression"),
        ("source: [title]", "prefix: x", "embeddings[0].column: e needs either source or expression: give one of them."),
        ("source: [title]", "source: [a]\n      expression: a", "embeddings[0].column: e needs either source or expression: give one of them."),
        ("source: [title]", "source: [a]\n      backend: azure_openai", "embeddings[0].backend: azure_openai comes later: use azure_local_ai."),
        ("source: [title]", "source: [a]\n      chunking: 100", "embeddings[0].chunking: chunking comes later: store one row for each piece of text, and leave it out."),
        ("source: [title]", "source: [a]\n      sync: queue\n      timeout: 5", "embeddings[0].timeout: timeout is for sync: trigger, and this is queue: leave it out."),
        ("source: [title]", "source: [a]\n      index: {method: hnsw, lists: 3}", "index.lists: is of ivfflat, not of hnsw: use ef_construction, m."),
        ("source: [title]", "source: [a]\n      index: {method: hnsw, m: 50}", "index.ef_construction: is too small: use at least twice m."),
        ("source: [title]", "source: [a]\n      index: {method: ivfflat, opclass: vector_l1_ops}", "index.opclass: vector_l1_ops is of hnsw only: use vector_cosine_ops, vector_l2_ops or vector_ip_ops."),
        ("source: [title]", "source: [a]\n      index: {method: flat}", "index.method: 'flat' is not allowed: use 'hnsw', 'ivfflat' or 'diskann'."),
        ("source: [title]", "source: [a]\n      index: 7", "embeddings[0].index: 7 is not a mapping of keys to values: use {method: …}; its keys are method, opclass, m, "),
        ("source: [title]", "source: title", "embeddings[0].source: 'title' is not a list: write ['title']."),
        ("version: 1", "version: 1\ntarget: default", "target: this is not a mapping of keys to values: use {local: …}; its keys are local, dsn, azure, stack, cwd."),
        ("- name: shop", "  name: shop", "databases: a mapping is not a list: begin each of its elements with `- `."),
        ("version: 1", "version: 1\nserver: {settings: {intra_op_paralelism: 1}}", "server.settings.intra_op_paralelism: is no setting of azure_local_ai: did you mean intra_op_parallelism?"),
        ("version: 1", "version: 1\nserver: {settings: {spin_control: [1]}}", "server.settings.spin_control: a list is not"),
        ("version: 1", "version: 1\nserver: {preload: [vector]}", "server.preload[0]: vector cannot be preloaded: use age"),
        ("version: 1", "version: 1\nserver: {allow: [a, a]}", "server.allow[1]: a is there twice: name it once."),
        ("version: 1", "version: 1\ntarget: {}", "target: names no server: use one of local, dsn, azure and stack."),
        ("version: 1", "version: 1\ntarget: {local: a, stack: b}", "target.stack: local and stack are given: name one server."),
        ("version: 1", "version: 1\ntarget: {local: a, cwd: b}", "target.cwd: is the folder of a stack, and there is none: set stack, or leave it out."),
        ("version: 1", "version: 1\ntarget: {azure: {server: shop}}", "target.azure.server: this is no resource id: use /subscriptions/"),
        ("version: 1", "version: 1\ntarget: {dsn: 'keyvault:a/b'}", "target.dsn: keyvault: references come later: use env:VARIABLE or file:PATH."),
        ("version: 1", "version: 1\ntarget: {dsn: 'env:A B'}", "target.dsn: env: is not followed by a variable's name: use env:VARIABLE, such as env:AZPG_DSN."),
        ("version: 1", "version: 1\ntarget: {dsn: 'file:'}", "target.dsn: file: is not followed by a path: use file:PATH, such as file:secrets/dsn."),
        ("version: 1", "version: 1\ntarget: {dsn: 'no such thing'}", "target.dsn: is no connection string: use env:VARIABLE, file:PATH, or a URI"),
        ("name: shop", "name: shop\n  grants: [{role: a}]", "grants[0]: says neither member_of, nor privileges and on: use one of them."),
        ("name: shop", "name: shop\n  grants: [{role: a, member_of: b, on: {}}]", "grants[0]: has member_of and privileges: make two grants of it."),
        ("name: shop", "name: shop\n  grants: [{role: a, privileges: [usage], on: {table: t}}]", "grants[0].privileges[0]: usage is a privilege on a schema: leave table out, or use another."),
        ("name: shop", "name: shop\n  grants: [{role: a, privileges: [select], on: {}}]", "grants[0].privileges[0]: select is a privilege on a table: name a table, or use another."),
        ("name: shop", "name: shop\n  init: [no-such.sql]", "init[0]: 'no-such.sql' cannot be read: No such file or directory: use a path relative to the spec."),
    ],
)  # fmt: skip
def test_what_cannot_be(old: str, new: str, said: str) -> None:
    found = problems(changed(old, new))
    assert any(said in problem for problem in found), found


def test_a_password_has_no_place_in_a_spec() -> None:
    text = changed("version: 1", "version: 1\ntarget: {dsn: 'postgresql://a:hunter2@h/d', password: hunter2}")
    found = problems(text)
    assert "hunter2" not in "".join(found)
    assert "target.dsn: holds a password, which belongs neither into a spec nor on a command line" in found[0]
    for target in (
        "postgresql://a:hunter2@h",
        "{dsn: [hunter2]}",
        "{local: {password: hunter2}}",
        "{dsn: 'password=hunter2 x'}",
    ):
        assert "hunter2" not in "".join(problems(changed("version: 1", f"version: 1\ntarget: {target}")))


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (b"SELECT 1;\nSELEC 2;", "line 2: syntax error."),
        (b"SELECT 1;\n\\copy x from y", "line 2: syntax error (psql's own commands are not SQL)"),
        (b"SELECT 1;\n\nBEGIN;", "line 3 begins or ends a transaction: leave that out, each file is one transaction"),
        ("SELECT 'äöü€';\n-- a comment\nCOMMIT;".encode(), "ends a transaction"),
        (b"COPY t FROM STDIN;", "line 1 is COPY with the client's data: use INSERT, or load it later"),
        (b"SELECT 1;\n\xff", "line 2 is not UTF-8: save the file as UTF-8"),
        (b"SELECT 1;\n\0", "line 2 holds a NUL character"),
    ],
)  # fmt: skip
def test_init_files_that_cannot_run(tmp_path: Path, statements: bytes, said: str) -> None:
    (tmp_path / "a.sql").write_bytes(statements)
    (problem,) = problems(changed("name: shop", "name: shop\n  init: [a.sql]"), tmp_path)
    assert problem.startswith("azpg.yaml:5: databases[0].init[0]: 'a.sql' line") or "ends a" in problem
    assert said in problem


def test_an_init_file_is_no_dump_of_all_data(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(b" " * 64_000_001)
    (problem,) = problems(changed("name: shop", "name: shop\n  init: [a.sql]"), tmp_path)
    assert "'a.sql' is too large: use 64000000 bytes at most, and load data with COPY" in problem


def test_init_files_are_kept_with_their_digest(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(b"SELECT 1;")
    (file,) = parsed(changed("name: shop", "name: shop\n  init: [a.sql]"), tmp_path).databases[0].init
    assert (file.path, file.statements) == ("a.sql", "SELECT 1;")
    assert file.sha256 == "17db4fd369edb9244b9f91d9aeed145c3d04ad8ba6e95d06247f07a63527d11a"


@pytest.mark.parametrize(
    ("statements", "path"),
    [
        ("SELECT 1", ("public", "pg_temp")),
        ("SET lock_timeout = 0; SET LOCAL search_path TO shop, 'A b', 5", ("shop", "A b", "5")),
        ("SET search_path = shop; SET SCHEMA 'public'; CREATE TABLE t (); SET search_path = x", ("public",)),
        ("SET search_path = shop; RESET search_path", ("public", "pg_temp")),
        ("CREATE SCHEMA shop; SET search_path = shop", ("public", "pg_temp")),
        ("SET lock_timeout = 0; SELECT pg_catalog.set_config('search_path', '', false); SELECT 1", ()),
        ("SELECT set_config('search_path', '', false)", ("public", "pg_temp")),
    ],
)
def test_where_an_init_file_begins_to_look_names_up(
    tmp_path: Path, statements: str, path: tuple[str, ...]
) -> None:
    (tmp_path / "a.sql").write_text(statements)
    (file,) = parsed(changed("name: shop", "name: shop\n  init: [a.sql]"), tmp_path).databases[0].init
    assert file.search_path == path


def test_files_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=r"there is no .*no\.yaml: name the spec, or write one"):
        read(tmp_path / "no.yaml")
    with pytest.raises(SpecInvalid, match="cannot be read: Is a directory"):
        read(tmp_path)
    (tmp_path / "large.yaml").write_bytes(b" " * 1_000_001)
    with pytest.raises(SpecInvalid, match="the file is too large"):
        read(tmp_path / "large.yaml")
    with pytest.raises(SpecInvalid, match="/dev/zero:1: the file is too large"):
        read(Path("/dev/zero"))


# Whatever it is

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_a_spec_or_a_reason(data: bytes) -> None:
    assert all(problem.startswith("azpg.yaml:") for problem in problems(data))


@given(st.data())
def test_any_value_in_any_place_is_a_spec_or_a_reason(data: st.DataObject) -> None:
    document = yaml.load(GOOD, Loader=yaml.BaseLoader)
    document["version"] = 1
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_VALUES)
        break
    found = None
    try:
        parse(json.dumps(document).encode(), name="azpg.yaml", folder=ROOT)
    except SpecInvalid as error:
        found = error.problems
    assert found is None or (found and all(problem.startswith("azpg.yaml:") for problem in found))


# The schema


def test_the_schema_is_the_published_one() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), (
        "python -m azpg_provision.spec.schema > docs/schemas/spec.json"
    )


@pytest.mark.parametrize("text", [GOOD, LEAST])
def test_the_schema_takes_what_is_right(text: str) -> None:
    # As an editor reads it: `on` is a text to it, too.
    value = yaml.load(text, Loader=yaml.BaseLoader)
    as_editors_do = json.loads(json.dumps(value))
    as_editors_do["version"] = 1
    for database in as_editors_do["databases"]:
        database.pop("tables")
    as_editors_do["server"] = {}
    for extension in as_editors_do["databases"][0]["extensions"]:
        if isinstance(extension, dict):
            extension["cascade"] = True
    jsonschema.validate(as_editors_do, schema())


def test_the_schema_names_what_is_wrong() -> None:
    with pytest.raises(jsonschema.ValidationError, match="'nmae' was unexpected"):
        jsonschema.validate({"version": 1, "databases": [{"name": "a", "nmae": 1}]}, schema())


EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_the_examples_are_specs_and_say_where_their_schema_is(path: Path) -> None:
    read(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=../docs/schemas/spec.json\n")


def test_mistakes_below_a_misspelt_key_are_said_too(tmp_path: Path) -> None:
    """As if it were not: at their own lines, and by the names that stand there."""
    text = b"""\
version: 1
databases:
- name: shop
  tabels:
  - name: products
    embedings:
    - {column: e, source: [title], model: "m:v1", sync: triger, indx: {method: hsnw}}
"""
    with pytest.raises(SpecInvalid) as refused:
        parse(text, name="azpg.yaml", folder=tmp_path)
    assert refused.value.problems == [
        "azpg.yaml:4: databases[0].tabels: is unknown: did you mean tables?",
        "azpg.yaml:6: databases[0].tabels[0].embedings: is unknown: did you mean embeddings?",
        "azpg.yaml:7: databases[0].tabels[0].embedings[0].sync: 'triger' is not allowed: use "
        "'generated', 'trigger', 'queue' or 'none'.",
        "azpg.yaml:7: databases[0].tabels[0].embedings[0].indx: is unknown: did you mean index?",
        "azpg.yaml:7: databases[0].tabels[0].embedings[0].indx.method: 'hsnw' is not allowed: use 'hnsw', "
        "'ivfflat' or 'diskann'.",
    ]
    assert refused.value.lines() == ["5 mistakes:", *refused.value.problems]


def test_where_a_part_of_a_spec_was_written(tmp_path: Path) -> None:
    text = b"version: 1\ndatabases:\n- name: shop\n"
    spec = parse(text, name="azpg.yaml", folder=tmp_path)
    assert spec.written("databases", 0, "name") == "azpg.yaml:3: databases[0].name: "
    assert spec == parse(b"# a comment\n" + text, name="another.yaml", folder=tmp_path)
