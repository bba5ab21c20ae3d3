"""PostgreSQL's configuration files as they are written, read back by PostgreSQL's own rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from azpg_runtime.postgres import configuration
from azpg_runtime.postgres.configuration import OWNED, quote, render

# As in guc-file.l: a string ends at a quote that is not doubled, and no line break stands inside it.
STRING = re.compile(r"'(?:[^'\\\n]|\\.|'')*'")
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


def unquote(written: str) -> str:
    """The value of a quoted string, as DeescapeQuotedString of PostgreSQL finds it."""
    assert STRING.fullmatch(written), written
    inside, value, at = written[1:-1], "", 0
    while at < len(inside):
        if inside[at] == "\\":
            octal = re.match(r"[0-7]{1,3}", inside[at + 1 :])
            if octal:
                value += chr(int(octal[0], 8))
                at += 1 + len(octal[0])
                continue
            value += ESCAPES.get(inside[at + 1], inside[at + 1])
            at += 2
        elif inside[at] == "'":
            assert inside[at : at + 2] == "''"
            value += "'"
            at += 2
        else:
            value += inside[at]
            at += 1
    return value


def settings_in(text: str) -> dict[str, str]:
    found = {}
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            found[name] = unquote(value)
    return found


@settings(deadline=None)
@given(value=VALUES | st.text("'\\\n\r\tn0177#= ", max_size=20))
@example("it's")
@example("a\nlisten_addresses = '*'")
@example("\\'")
@example("\\101")
@example("\\n")
def test_a_quoted_value_reads_back(value: str) -> None:
    assert unquote(quote(value)) == value
    assert "\n" not in quote(value)


@settings(deadline=None)
@given(
    values=st.dictionaries(
        st.from_regex(r"[a-z_]{1,10}(\.[a-z_]{1,10})?", fullmatch=True), VALUES, max_size=6
    )
)
def test_a_rendered_file_has_a_line_for_each_setting_whatever_the_values(values: dict[str, str]) -> None:
    text = render(values)
    assert settings_in(text) == values
    assert text.count("\n") == len(values)


def write(folder: Path, **changes: Any) -> dict[str, str]:
    options: dict[str, Any] = {
        "major": 18,
        "data": Path("/h/it's/data"),
        "port": 20123,
        "sockets": Path("/run/x/pg"),
        "host_socket": Path("/run/x/host.sock"),
        "host_uid": 17,
        "instance": "one",
        "preload": ["pg_stat_statements", "azpg_server"],
    }
    rules: dict[str, Any] = {"superusers": ["azpg", "some body"], "front": "azpg", "principals": []}
    rules |= {name: changes.pop(name) for name in list(changes) if name in rules}
    configuration.write(folder, **{**options, **changes})
    configuration.write_rules(folder, **rules)
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_files_of_an_instance(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    files = write(folder)
    assert set(files) == {"postgresql.conf", "pg_hba.conf", "pg_ident.conf"}
    own, include = files["postgresql.conf"].rsplit("include = ", 1)
    assert include == "'parameters.conf'\n"
    assert own.startswith("# Written by azpg at every start; `azpg server parameter set` sets parameters.\n")
    found = settings_in(own)
    assert found["data_directory"] == "/h/it's/data"
    assert (found["hba_file"], found["ident_file"]) == (
        str(folder / "pg_hba.conf"),
        str(folder / "pg_ident.conf"),
    )
    assert (found["listen_addresses"], found["port"]) == ("127.0.0.1", "20123")
    assert found["unix_socket_directories"] == "/run/x/pg"
    assert found["shared_preload_libraries"] == "pg_stat_statements, azpg_server"
    assert (found["azpg.model_host_socket"], found["azpg.model_host_uid"]) == ("/run/x/host.sock", "17")
    assert found["cluster_name"] == "azpg one"
    assert found["password_encryption"] == "scram-sha-256"
    assert files["pg_ident.conf"] == 'azpg "azpg" azuresu\nazpg "some body" azuresu\n'


def test_nobody_is_trusted(tmp_path: Path) -> None:
    lines = [line.split() for line in write(tmp_path / "conf")["pg_hba.conf"].splitlines()]
    assert lines[0] == ["local", "all", "azuresu", "peer", "map=azpg"]
    remote = [line for line in lines if line[0] == "host"]
    assert remote[0] == ["host", "all", "azuresu", "all", "reject"]
    methods = {line[3] if line[0] == "local" else line[4] for line in lines}
    assert methods == {"peer", "scram-sha-256", "reject"}
    assert {line[3] for line in remote if line[4] != "reject"} == {"127.0.0.1/32"}


def test_alter_system_is_off_where_it_can_be(tmp_path: Path) -> None:
    assert "allow_alter_system = 'off'" in write(tmp_path / "conf", major=18)["postgresql.conf"]
    assert "allow_alter_system" not in write(tmp_path / "conf", major=16)["postgresql.conf"]


def test_durability_is_traded_only_when_asked(tmp_path: Path) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    assert not any(name in write(tmp_path / "conf")["postgresql.conf"] for name in names)
    text = write(tmp_path / "conf", durable=False)["postgresql.conf"]
    assert all(f"{name} = 'off'" in text for name in names)


def test_writing_again_replaces_all(tmp_path: Path) -> None:
    write(tmp_path / "conf")
    files = write(tmp_path / "conf", port=20124, superusers=["me"])
    assert files["pg_ident.conf"] == 'azpg "me" azuresu\n'
    assert settings_in(files["postgresql.conf"].rsplit("include", 1)[0])["port"] == "20124"
    assert len(files) == 3


@pytest.mark.parametrize("name", ["listen_addresses", "port", "data_directory", "dynamic_library_path"])
def test_what_the_twin_decides_is_owned(name: str) -> None:
    assert name in OWNED
