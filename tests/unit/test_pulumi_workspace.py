"""The folder that `azpg pulumi` runs a program in, and what has begun there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.errors import PulumiError
from azpg_runtime.home import Home
from azpg_runtime.pulumi.journal import Journal
from azpg_runtime.pulumi.workspace import PLUGIN, Workspace, find_project, merged

PROJECT = {
    "name": "mine",
    "runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}},
    "main": "infra/",
    "config": {
        "size": {"type": "integer", "default": 3},
        "adminPassword": {"type": "string", "secret": True},
    },
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "a project"
    (folder / "infra").mkdir(parents=True)
    (folder / "infra" / "__main__.py").write_text("")
    write(folder / "Pulumi.yaml", PROJECT)
    write(folder / "Pulumi.offline.yaml", {"config": {"mine:size": 4}})
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(yaml.safe_dump(content))


def settings(workspace: Workspace) -> Any:
    return yaml.safe_load((workspace.folder / "Pulumi.offline.yaml").read_text())


def made(tmp_path: Path, project: Path) -> Workspace:
    workspace = Workspace(Home(tmp_path / "home"), project, "offline")
    (tmp_path / "home").mkdir(exist_ok=True)
    workspace.prepare()
    return workspace


def test_the_project_is_as_it_was_and_ours_has_the_plugin(tmp_path: Path, project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    workspace = made(tmp_path, project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    definition = yaml.safe_load((workspace.folder / "Pulumi.yaml").read_text())
    assert definition["plugins"] == {
        "providers": [{"name": "azure-native", "path": "./plugins/azure-native"}]
    }
    assert definition["config"] == PROJECT["config"]
    assert (workspace.folder / "infra").resolve() == project / "infra"
    program = workspace.folder / "plugins" / "azure-native" / PLUGIN
    assert os.access(program, os.X_OK)
    passphrase = tmp_path / "home" / "pulumi" / "passphrase"
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    assert passphrase.read_text() not in str(workspace.environment())


def test_other_plugins_stay(tmp_path: Path, project: Path) -> None:
    others = {
        "providers": [{"name": "azure-native", "path": "x"}, {"name": "random", "path": "y"}],
        "languages": [],
    }
    write(project / "Pulumi.yaml", {**PROJECT, "plugins": others})
    definition = yaml.safe_load((made(tmp_path, project).folder / "Pulumi.yaml").read_text())
    assert definition["plugins"] == {
        "providers": [
            {"name": "random", "path": "y"},
            {"name": "azure-native", "path": "./plugins/azure-native"},
        ],
        "languages": [],
    }


def test_what_pulumi_wrote_stays_and_what_people_commit_arrives(tmp_path: Path, project: Path) -> None:
    workspace = made(tmp_path, project)
    assert settings(workspace) == {"config": {"mine:size": 4}}
    ours = {"encryptionsalt": "v1:x", "config": {"mine:size": 5, "mine:adminPassword": {"secure": "y"}}}
    write(workspace.folder / "Pulumi.offline.yaml", ours)
    workspace.prepare()
    assert settings(workspace) == ours
    write(project / "Pulumi.offline.yaml", {"config": {"mine:size": 6, "mine:more": True}})
    workspace.prepare()
    assert settings(workspace) == {
        "encryptionsalt": "v1:x",
        "config": {"mine:size": 6, "mine:adminPassword": {"secure": "y"}, "mine:more": True},
    }


def test_secrets_that_are_missing_and_ones_for_them(tmp_path: Path, project: Path) -> None:
    workspace = made(tmp_path, project)
    assert workspace.missing_secrets() == ["adminPassword"]
    write(workspace.folder / "Pulumi.offline.yaml", {"config": {"mine:adminPassword": {"secure": "y"}}})
    assert workspace.missing_secrets() == []
    one, other = Workspace.new_secret(), Workspace.new_secret()
    assert one != other
    assert all(any(map(test, one)) for test in (str.isupper, str.islower, str.isdigit))


def test_our_own_program_gets_its_password(tmp_path: Path, project: Path) -> None:
    write(project / "Pulumi.yaml", {"name": "azpg", "runtime": "python"})
    assert made(tmp_path, project).missing_secrets() == ["adminPassword"]


def test_what_the_project_has_no_longer_goes(tmp_path: Path, project: Path) -> None:
    (project / "old").write_text("")
    workspace = made(tmp_path, project)
    assert (workspace.folder / "old").is_symlink()
    (project / "old").unlink()
    workspace.prepare()
    assert not (workspace.folder / "old").is_symlink()


def test_projects_of_one_name_do_not_share_a_folder(tmp_path: Path, project: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other / "Pulumi.yaml", PROJECT)
    assert made(tmp_path, project).folder != made(tmp_path, other).folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "cannot read "),
        ("- a", " is no mapping of keys to values."),
        ("runtime: python", " has no `name`."),
        (None, "cannot read "),
    ],
)
def test_a_project_that_is_none(tmp_path: Path, project: Path, content: str | None, message: str) -> None:
    path = project / "Pulumi.yaml"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(PulumiError, match=message):
        Workspace(Home(tmp_path / "home"), project, "offline")


def test_the_project_is_found_from_within(tmp_path: Path, project: Path) -> None:
    assert find_project(project / "infra") == project
    with pytest.raises(
        PulumiError, match=r"there is no Pulumi.yaml in .* or above. Go to the project's folder"
    ):
        find_project(tmp_path)


CONFIG = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3))


@given(CONFIG, CONFIG, CONFIG)
def test_merging_takes_over_changes_and_nothing_else(committed: Any, before: Any, mine: Any) -> None:
    result = merged(committed, before, mine)
    for key in {*committed, *before, *mine, *result}:
        changed = committed.get(key) != before.get(key)
        assert result.get(key) == (committed if changed else mine).get(key)
    assert merged(committed, committed, result) == result


def test_a_journal_knows_what_was_begun_by_whom(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert not journal.began("/A", "urn:1")
    journal.begin("/A", "urn:1")
    assert Journal(tmp_path / "journal").began("/a", "urn:1")
    assert not journal.began("/A", "urn:2")
    assert not journal.began("/B", "urn:1")
    journal.end("/a")
    journal.end("/a")
    assert not journal.began("/A", "urn:1")
    nowhere = Journal(None)
    nowhere.begin("/A", "urn:1")
    assert not nowhere.began("/A", "urn:1")
    nowhere.end("/A")
