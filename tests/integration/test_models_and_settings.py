"""model_register, model_loaded, model_metadata, model_unload, model_unregister, get_setting, set_setting."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from tests.conftest import MODEL, URI

pytestmark = pytest.mark.every_major

Connection = psycopg.Connection[Any]


def value(connection: Connection, query: str, *parameters: object) -> Any:
    """The only value of the only row."""
    (row,) = connection.execute(query, parameters).fetchall()
    return row[0]


@pytest.fixture
def member(twin: Instance, database: str) -> Iterator[Connection]:
    """A connection of an ordinary role, in the test's own database."""
    role = sql.Identifier(f"role_{database}")
    with twin.superuser() as superuser:
        superuser.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
    try:
        with twin.superuser(database) as connection:
            connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(role))
            yield connection
    finally:
        with twin.superuser() as superuser:
            superuser.execute(sql.SQL("DROP ROLE {}").format(role))


def refused(connection: Connection, query: str, *parameters: object) -> psycopg.errors.Diagnostic:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(query, parameters)
    return caught.value.diag


def test_registering_again_gives_the_same_id(connection: Connection) -> None:
    first = value(connection, "SELECT azure_local_ai.model_register(%s, %s)", URI, MODEL)
    again = value(connection, "SELECT azure_local_ai.model_register(%s, %s)", URI, MODEL)
    assert isinstance(first, int)
    assert first == again


def test_metadata_describes_the_model(connection: Connection, minilm: StoredModel) -> None:
    found = value(connection, "SELECT azure_local_ai.model_metadata(%s)", URI)
    assert found["uri"] == URI
    assert (found["dimensions"], found["max_tokens"]) == (384, 256)
    assert (found["pooling"], found["normalized"]) == ("mean", True)
    assert found["digest"] == minilm.digest
    assert found["licence"] == "Apache-2.0"
    assert {name: set(file) for name, file in found["files"].items()} == {
        "model.safetensors": {"size", "sha256"},
        "tokenizer.json": {"size", "sha256"},
    }
    value(connection, "SELECT azure_local_ai.create_embeddings(%s, 'x')", URI)
    assert value(connection, "SELECT azure_local_ai.model_metadata(%s)", URI)["memory"] == minilm.memory


def test_life_of_a_registration(connection: Connection) -> None:
    uri = "life:v1"
    value(connection, "SELECT azure_local_ai.model_register(%s, %s)", uri, MODEL)
    assert value(connection, "SELECT azure_local_ai.model_loaded(%s)", uri) is True
    connection.execute("SELECT azure_local_ai.model_unload(%s)", [uri])
    assert value(connection, "SELECT azure_local_ai.model_loaded(%s)", uri) is False
    assert len(value(connection, "SELECT azure_local_ai.create_embeddings(%s, 'x')", uri)) == 384
    assert value(connection, "SELECT azure_local_ai.model_loaded(%s)", uri) is True
    connection.execute("SELECT azure_local_ai.model_unregister(%s)", [uri])
    said = refused(connection, "SELECT azure_local_ai.create_embeddings(%s, 'x')", uri)
    assert said.sqlstate == "42704"
    assert URI in (said.message_hint or "")


@pytest.mark.parametrize("function", ["model_loaded", "model_metadata", "model_unload", "model_unregister"])
def test_unknown_models_are_undefined_objects(connection: Connection, function: str) -> None:
    query = sql.SQL("SELECT azure_local_ai.{}('nothing:v1')").format(sql.Identifier(function))
    with pytest.raises(psycopg.errors.UndefinedObject, match=f"azure_local_ai.{function}: "):
        connection.execute(query)


def test_registering_what_is_no_model_leaves_nothing_behind(
    twin: Instance, connection: Connection, minilm: StoredModel
) -> None:
    folder = twin.home.models / "bad"
    folder.mkdir()
    try:
        (folder / "model.onnx").write_bytes(b"this is not ONNX")
        shutil.copy(minilm.tokenizer, folder / "tokenizer.json")
        (folder / "broken").mkdir()
        shutil.copy(minilm.folder / "model.onnx", folder / "broken" / "model.onnx")
        shutil.copy(minilm.folder / "weights.bin", folder / "broken" / "weights.bin")
        (folder / "broken" / "tokenizer.json").write_text('{"version": "1.0"}')
        register = "SELECT azure_local_ai.model_register(%s, %s, %s)"
        for path, tokenizer, state in (
            ("bad/model.onnx", "bad/tokenizer.json", "22023"),
            ("bad/broken/model.onnx", None, "22023"),
            ("bad/missing.onnx", "bad/tokenizer.json", "58P01"),
            ("bad/model.onnx", "bad/missing.json", "58P01"),
            ("no-such-model", None, "42704"),
        ):
            said = refused(connection, register, "bad:v1", path, tokenizer)
            assert said.sqlstate == state, (path, said.message_primary)
            assert said.message_primary is not None
            assert said.message_primary.startswith("azure_local_ai.model_register: ")
        said = refused(connection, "SELECT azure_local_ai.model_loaded('bad:v1')")
        assert said.sqlstate == "42704"
    finally:
        shutil.rmtree(folder)


def test_registering_from_the_models_folder(
    twin: Instance, connection: Connection, minilm: StoredModel
) -> None:
    folder = twin.home.models / "own"
    shutil.copytree(minilm.folder, folder)
    try:
        value(connection, "SELECT azure_local_ai.model_register('own:v1', 'own/model.onnx')")
    finally:
        shutil.rmtree(folder)
    same = (
        "SELECT azure_local_ai.create_embeddings('own:v1', 'x') = azure_local_ai.create_embeddings(%s, 'x')"
    )
    assert value(connection, same, URI) is True
    connection.execute("SELECT azure_local_ai.model_unregister('own:v1')")


@pytest.mark.parametrize("path", ["/etc/passwd", "../../passfile", "escape/model.onnx", "bad\ttab", "."])
def test_no_file_outside_the_models_folder_is_read(twin: Instance, connection: Connection, path: str) -> None:
    link = twin.home.models / "escape"
    link.symlink_to("/etc")
    try:
        said = refused(connection, "SELECT azure_local_ai.model_register('x:v1', %s)", path)
    finally:
        link.unlink()
    assert said.sqlstate in {"58P01", "42704"}


@pytest.mark.parametrize("tokenizer", ["/etc/shadow", "own/tokenizer.json", "x"])
def test_a_tokenizer_for_a_model_of_the_store_is_refused(connection: Connection, tokenizer: str) -> None:
    said = refused(connection, "SELECT azure_local_ai.model_register('x:v1', %s, %s)", MODEL, tokenizer)
    assert said.sqlstate == "22023"
    assert said.message_primary == (
        f'azure_local_ai.model_register: "{MODEL}" is a model of the store, which has a tokenizer of its own'
    )
    assert said.message_detail == f'The third argument is "{tokenizer}".'


def test_settings_are_shown_and_changed(connection: Connection) -> None:
    shown = value(connection, "SELECT azure_local_ai.get_setting()")
    assert set(shown) == {"intra_op_parallelism", "inter_op_parallelism", "spin_control"}
    assert value(connection, "SELECT azure_local_ai.get_setting('spin_control')") == "false"
    connection.execute("SELECT azure_local_ai.set_setting('intra_op_parallelism', '1')")
    assert value(connection, "SELECT azure_local_ai.get_setting('intra_op_parallelism')") == "1"
    assert len(value(connection, "SELECT azure_local_ai.create_embeddings(%s, 'x')", URI)) == 384
    connection.execute(
        "SELECT azure_local_ai.set_setting(ARRAY['intra_op_parallelism', 'spin_control'], ARRAY[%s, 'off'])",
        [shown["intra_op_parallelism"]],
    )
    assert value(connection, "SELECT azure_local_ai.get_setting(ARRAY['intra_op_parallelism'])") == {
        "intra_op_parallelism": shown["intra_op_parallelism"]
    }


@pytest.mark.parametrize(
    ("query", "state"),
    [
        ("SELECT azure_local_ai.get_setting('colour')", "22023"),
        ("SELECT azure_local_ai.set_setting('colour', 'red')", "22023"),
        ("SELECT azure_local_ai.set_setting('spin_control', 'perhaps')", "22023"),
        ("SELECT azure_local_ai.set_setting('intra_op_parallelism', '0')", "22023"),
        ("SELECT azure_local_ai.set_setting(ARRAY['spin_control'], ARRAY['on', 'off'])", "22023"),
        ("SELECT azure_local_ai.set_setting(ARRAY['spin_control', 'colour'], ARRAY['on', 'red'])", "22023"),
    ],
)
def test_bad_settings_change_nothing(connection: Connection, query: str, state: str) -> None:
    before = value(connection, "SELECT azure_local_ai.get_setting()")
    assert refused(connection, query).sqlstate == state
    assert value(connection, "SELECT azure_local_ai.get_setting()") == before


def test_an_ordinary_role_may_embed_and_look_but_not_change(member: Connection) -> None:
    assert len(value(member, "SELECT azure_local_ai.create_embeddings(%s, 'x')", URI)) == 384
    assert value(member, "SELECT azure_local_ai.model_loaded(%s)", URI) is True
    assert value(member, "SELECT azure_local_ai.get_setting('spin_control')") == "false"
    for query in (
        "SELECT azure_local_ai.model_register('a:v1', 'b')",
        "SELECT azure_local_ai.model_unload('a:v1')",
        "SELECT azure_local_ai.model_unregister('a:v1')",
        "SELECT azure_local_ai.set_setting('spin_control', 'on')",
    ):
        assert refused(member, query).sqlstate == "42501"
