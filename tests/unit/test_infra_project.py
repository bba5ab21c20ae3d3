"""Pulumi.yaml and what the program reads say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from azpg_infra.reading import KEYS, read

from .cloud import PASSWORD

ROOT = Path(__file__).parents[2]
PROJECT = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
LISTED: dict[str, Any] = PROJECT["config"]
WITHOUT_DEFAULT = {
    "adminPassword",
    "aiDeployments",
    "encryption",
    "entraAdmins",
    "firewallRules",
    "maintenance",
    "network",
    "parameters",
    "storage",
    "tags",
    "zones",
}


def texts(values: dict[str, Any]) -> dict[str, str]:
    """Values as Pulumi hands them to a program."""
    return {
        key.removeprefix("azpg:"): value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
    }


def test_every_key_has_its_place() -> None:
    listed = {key.removeprefix("azpg:") for key in LISTED}
    assert listed | WITHOUT_DEFAULT == set(KEYS)
    assert not listed & WITHOUT_DEFAULT
    text = (ROOT / "Pulumi.yaml").read_text()
    assert all(f"azpg:{key}" in text for key in WITHOUT_DEFAULT)
    guide = (ROOT / "docs" / "azure.md").read_text()
    assert [key for key in KEYS if f"`{key}" not in guide] == []


@pytest.mark.parametrize("key", LISTED)
def test_each_listed_key_is_typed_described_and_has_a_default(key: str) -> None:
    assert set(LISTED[key]) - {"items"} == {"type", "description", "default"}
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list}
    assert type(LISTED[key]["default"]) is kinds[LISTED[key]["type"]]


def test_the_listed_defaults_are_those_of_the_program() -> None:
    password = {"adminPassword": PASSWORD}
    defaults = {key: entry["default"] for key, entry in LISTED.items()}
    assert read(texts(defaults) | password, secret=password) == read(password, secret=password)


def test_the_offline_stack() -> None:
    values: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.offline.yaml").read_text())["config"]
    config = read(texts(values) | {"adminPassword": PASSWORD}, secret={"adminPassword"})
    assert (config.profile, config.location, config.sku) == ("preview-2024", "eastus", "Standard_E4ds_v5")
    assert config.extensions == ("vector", "azure_ai", "azure_local_ai")
    assert config.protect is False


def test_the_program_is_found_and_installed() -> None:
    assert PROJECT["name"] == "azpg"
    assert PROJECT["runtime"]["name"] == "python"
    assert (ROOT / PROJECT["main"] / "__main__.py").is_file()
    assert "plugins" not in PROJECT  # they belong into the copy that `azpg pulumi` makes
    requirements = (ROOT / PROJECT["main"] / "requirements.txt").read_text()
    assert "--editable ..[pulumi]" in requirements
