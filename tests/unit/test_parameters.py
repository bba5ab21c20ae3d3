"""What was set is kept, and what may not be set is refused by name; the server's part is in integration/."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg.profiles import Offer, offer
from azpg_runtime.errors import ParameterRefused
from azpg_runtime.postgres import preload
from azpg_runtime.postgres.configuration import OWNED, render
from azpg_runtime.postgres.installation import Installation
from azpg_runtime.postgres.parameters import ParameterFile, check_extensions, write_included

OFFERED = Offer(frozenset({"vector", "azure_ai", "pg_trgm"}), {"azure_local_ai": "it was retired"})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(values=st.dictionaries(TEXTS.filter(lambda name: name not in OWNED), TEXTS, max_size=6))
def test_what_was_set_is_kept(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    file = ParameterFile(tmp_path_factory.getbasetemp() / "parameters.json")
    file.save(values)
    assert file.load() == values


def test_nothing_was_set(tmp_path: Path) -> None:
    assert ParameterFile(tmp_path / "parameters.json").load() == {}


def test_the_file_can_be_read_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    ParameterFile(path).save({"b": "2", "a": "1"})
    assert path.read_text() == '{\n  "a": "1",\n  "b": "2"\n}\n'


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"null", b'"x"', b"\xff\xfe", b'{"work_mem": 4}', b'{"port": "5432"}'],
)
def test_a_damaged_file_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "parameters.json"
    path.write_bytes(content)
    with pytest.raises(ParameterRefused) as caught:
        ParameterFile(path).load()
    assert caught.value.message.startswith(f"{path} is damaged: ")
    assert caught.value.hint == "Delete it and set them again."


@settings(deadline=None)
@given(
    content=st.text(max_size=40) | st.recursive(st.none() | st.integers() | TEXTS, st.lists).map(json.dumps)
)
def test_any_file_is_parameters_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(ParameterRefused):
        ParameterFile(path).load()


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("", ""),
        ("vector", "vector"),
        (" VECTOR , azure_ai,,vector", "vector,azure_ai"),
        ("pg_trgm,vector", "pg_trgm,vector"),
    ],
)
def test_extensions_are_held_as_azure_echoes_them(written: str, held: str) -> None:
    assert check_extensions(written, OFFERED) == held


def test_extensions_that_are_not_offered() -> None:
    with pytest.raises(ParameterRefused) as caught:
        check_extensions("vector,nonsense,Other", OFFERED)
    assert caught.value.message == "nonsense, other cannot be allow-listed on this server."
    assert caught.value.detail == ""
    assert caught.value.hint == "The allowed values are azure_ai, pg_trgm, vector."


def test_why_an_extension_is_missing_is_said() -> None:
    with pytest.raises(ParameterRefused) as caught:
        check_extensions("azure_local_ai,nonsense", OFFERED)
    assert str(caught.value) == (
        "azure_local_ai, nonsense cannot be allow-listed on this server. azure_local_ai: it was retired. "
        "The allowed values are azure_ai, pg_trgm, vector."
    )


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("vectr", "Did you mean 'vector'? "),
        ("azure_ia,vector,pgtrgm", "Did you mean 'azure_ai'? Did you mean 'pg_trgm'? "),
        ("qqq", ""),
    ],
)
def test_an_extension_like_the_one_that_was_meant(written: str, hint: str) -> None:
    refused = written.replace(",vector", "").replace(",", ", ")
    everything = offer("azure-2026", location="eastus", sku="Standard_E4ds_v5")
    with pytest.raises(ParameterRefused) as caught:
        check_extensions(written, everything)
    number = len(everything.extensions)
    assert str(caught.value) == (
        f"{refused} cannot be allow-listed on this server. {hint}"
        f"`azpg server parameter show azure.extensions` names the {number} allowed values."
    )


def test_the_retired_extension_on_a_server_of_today() -> None:
    with pytest.raises(ParameterRefused, match="azure_local_ai: azure_local_ai was retired on 2025-03-21\\."):
        check_extensions("azure_local_ai", offer("azure-2026", location="eastus", sku="Standard_E4ds_v5"))


def test_what_the_server_includes_is_what_was_set_but_the_libraries(tmp_path: Path) -> None:
    write_included(tmp_path, {"work_mem": "8192", preload.PARAMETER: "age"})
    assert (tmp_path / "parameters.conf").read_text() == render({"work_mem": "8192"})


@pytest.mark.parametrize(
    ("written", "held"), [("", ""), (" AGE ,pg_cron,,age", "age,pg_cron"), ("pgaudit", "pgaudit")]
)
def test_preload_libraries_are_held_like_extensions(written: str, held: str) -> None:
    assert preload.check(written) == held


def test_preload_libraries_that_azure_does_not_have() -> None:
    with pytest.raises(ParameterRefused) as caught:
        preload.check("age,../evil")
    assert caught.value.message == "../evil cannot be preloaded on a Flexible Server."
    assert caught.value.detail == ""
    assert caught.value.hint.startswith("The allowed values are age, anon, ")
    with pytest.raises(ParameterRefused) as caught:
        preload.check("pg_corn")
    assert caught.value.detail == "Did you mean 'pg_cron'?"


def test_only_what_is_there_is_loaded_and_ours_always(tmp_path: Path) -> None:
    installation = Installation(18, tmp_path, tmp_path, tmp_path, tmp_path)
    (installation.lib / "age.so").touch()
    found = preload.divide("pg_cron,age", installation)
    assert found.loaded == ["age", "azpg_server"]
    assert found.missing == {
        "pg_cron": "not loaded: this PostgreSQL 18 lacks it; `azpg up NAME --pg-config PATH` takes one that has it, "
        "and `azpg help extensions` says what each has"
    }
    assert preload.divide("", installation) == preload.Preload(["azpg_server"], {})
