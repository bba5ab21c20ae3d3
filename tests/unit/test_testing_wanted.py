"""What the options of the pytest plug-in ask for, and what cannot be."""

from __future__ import annotations

import re
from typing import Any

import pytest

from azpg.errors import AzpgError
from azpg_runtime import testing
from azpg_runtime.models import ModelStore, StoredModel
from azpg_runtime.postgres.bundled import DEFAULT_MAJOR, MAJORS, NAMES, find
from azpg_runtime.postgres.description import DEFAULT_LOCATION, DEFAULT_PROFILE, DEFAULT_SKU, Description
from azpg_runtime.testing.wanted import Wanted


def created(wanted: Wanted) -> tuple[str, ...]:
    return wanted.created(Description("any", os_user="").changed(wanted.wishes()))


def test_what_is_not_given_changes_nothing() -> None:
    wanted = Wanted().changed(postgres="16", extensions=["vector"], models=["a"], sku="Standard_E8ds_v5")
    assert wanted == Wanted(16, extensions=("vector",), models=("a:v1",), sku="Standard_E8ds_v5")
    assert wanted.changed() == wanted
    assert wanted.changed(postgres=18).postgres == 18


@pytest.mark.parametrize(
    "value", [["Vector, azure_local_ai"], ["vector", "AZURE_LOCAL_AI"], ["vector,,azure_local_ai,vector"]]
)
def test_lists_of_extensions(value: list[str]) -> None:
    assert Wanted().changed(extensions=value).extensions == ("vector", "azure_local_ai")


def test_models_get_the_version_they_are_registered_under() -> None:
    assert Wanted().changed(models=["a, b:v2", "a:v1"]).models == ("a:v1", "b:v2")


def test_an_empty_list_is_none_at_all() -> None:
    wanted = Wanted(models=("a:v1",)).changed(extensions=[""], models=[""])
    assert wanted == Wanted(extensions=(), models=())
    assert created(wanted) == ()


def test_without_a_wish_there_is_what_the_server_offers() -> None:
    assert created(Wanted()) == ("vector", "azure_local_ai")
    assert created(Wanted(profile="azure-2026")) == ("vector",)
    assert created(Wanted(sku="Standard_B2s")) == ("vector",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"postgres": "x"}, "'x' is no major version of PostgreSQL. Use 16 or 18."),
        ({"postgres": 17}, "PostgreSQL 17 is not bundled. Use 16 or 18"),
        ({"build": "x"}, "there is no build 'x' of PostgreSQL. Use embedded or pixeltable."),
        ({"postgres": 16, "build": "embedded"}, "the build 'embedded' has no PostgreSQL 16."),
        ({"pg_config": "/nowhere"}, "/nowhere is no pg_config:"),
        ({"profile": "x"}, "profile 'x' is unknown: use preview-2024 or azure-2026"),
        ({"location": "useast"}, "'useast' is no Azure region: did you mean eastus?"),
        ({"sku": "x"}, "'x' is no Flexible Server SKU: use a name such as"),
        (
            {"extensions": ["x"]},
            "x cannot be allow-listed on this server. `azpg server parameter show azure.extensions` names the",
        ),
        (
            {"extensions": ["azure_local_ai"], "location": "northeurope"},
            "the region northeurope was not in the preview",
        ),
        ({"models": ["a b"]}, '"a b" is not a model URI.'),
        (
            {"models": ["x"]},
            "the store has no model 'x'.",
        ),
        (
            {"models": ["all-minilm-l6-v2"], "profile": "azure-2026"},
            "models cannot be registered without azure_local_ai: azure_local_ai was retired on 2025-03-21",
        ),
        (
            {"models": ["all-minilm-l6-v2"], "extensions": ["vector"]},
            "models cannot be registered without azure_local_ai: it is not among the extensions",
        ),
    ],
)
def test_what_cannot_be(options: dict[str, Any], said: str, model_store: ModelStore) -> None:
    with pytest.raises(AzpgError, match=re.escape(said)):
        Wanted().changed(**options).check(model_store)


def test_what_can_be(model_store: ModelStore, minilm: StoredModel) -> None:
    assert minilm.name is not None
    Wanted().check(model_store)
    Wanted(16, models=(f"{minilm.name}:v3",)).check(model_store)
    Wanted(profile="azure-2026").check(model_store)


def test_the_help_names_the_defaults() -> None:
    texts = {**testing._TEXTS, **testing._LISTS}
    assert f"{' or '.join(map(str, MAJORS))} [default: {DEFAULT_MAJOR}]" in texts["postgres"]
    assert f"of {DEFAULT_MAJOR}, {' or '.join(NAMES)} [default: {find(DEFAULT_MAJOR).name}]" in texts["build"]
    assert f"[default: {DEFAULT_PROFILE}]" in texts["profile"]
    assert f"[default: {DEFAULT_LOCATION}]" in texts["location"]
    assert f"[default: {DEFAULT_SKU}]" in texts["sku"]
    assert f"[default: {','.join(created(Wanted()))}]" in texts["extensions"]
