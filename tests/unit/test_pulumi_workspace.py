"""The folder that `azpg pulumi` runs a program in, and what has begun there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.errors import PulumiError
from azpg_runtime.home import Home
from azpg_runtime.pulumi.caller import without_cloud
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
    with workspace.alone():
        workspace.prepare()
    return workspace


def test_the_project_is_as_it_was_and_ours_has_the_plugin(tmp_path: Path, project: Path) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    workspace = made(tmp_path, project)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    definition = yaml.safe_load((workspace.folder / "Pulumi.yaml").read_text())
    assert definition["plugins"] == {"providers": [{"name": "azure-native", "path": "./.azpg/azure-native"}]}
    assert definition["config"] == PROJECT["config"]
    assert (workspace.folder / "infra").resolve() == project / "infra"
    program = workspace.folder / ".azpg" / "azure-native" / PLUGIN
    assert os.access(program, os.X_OK)
    passphrase = tmp_path / "home" / "pulumi" / "passphrase"
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    assert passphrase.read_text() not in str(workspace.environment())


def test_pulumi_takes_the_python_that_runs_azpg_whatever_that_is(tmp_path: Path, project: Path) -> None:
    """As Pulumi's own language host does: the file must be there, and it runs it. /usr/bin has no `python`."""
    write(project / "Pulumi.yaml", {**PROJECT, "runtime": {"name": "python", "options": {"toolchain": "uv"}}})
    folder = made(tmp_path, project).folder
    runtime = yaml.safe_load((folder / "Pulumi.yaml").read_text())["runtime"]
    assert runtime == {"name": "python", "options": {"virtualenv": ".azpg/python", "toolchain": "pip"}}
    python = folder / ".azpg" / "python" / "bin" / "python"
    code = "import sys; print(sys.executable, sys.prefix, *sys.argv[1:])"
    said = subprocess.check_output([python, "-c", code, "two words", "$x"], text=True)
    assert said == f"{sys.executable} {sys.prefix} two words $x\n"


@pytest.mark.parametrize("runtime", ["nodejs", {"name": "nodejs"}, None, 3])
def test_programs_in_another_language(tmp_path: Path, project: Path, runtime: Any) -> None:
    name = runtime["name"] if isinstance(runtime, dict) else runtime
    write(project / "Pulumi.yaml", {**PROJECT, "runtime": runtime})
    with pytest.raises(PulumiError) as caught:
        made(tmp_path, project)
    assert str(caught.value) == (
        f"`azpg pulumi` runs programs in Python, and the runtime of this one is {name!r}. Run it with pulumi "
        "itself, on Azure."
    )


@pytest.mark.parametrize("lost", [Path.unlink, lambda path: path.write_text("")], ids=["gone", "empty"])
@pytest.mark.parametrize("left", ["state", "settings"])
def test_a_lost_passphrase_is_not_replaced(
    tmp_path: Path, project: Path, left: str, lost: Callable[[Path], None]
) -> None:
    workspace = made(tmp_path, project)
    root = tmp_path / "home" / "pulumi"
    passphrase = root / "passphrase"
    if left == "state":
        state = root / "state" / ".pulumi" / "stacks" / "mine" / "offline.json"
        state.parent.mkdir(parents=True)
        state.write_text("{}")
    else:
        write(workspace.folder / "Pulumi.offline.yaml", {"config": {}, "encryptionsalt": "v1:x"})
    kept = passphrase.read_text()
    lost(passphrase)
    with pytest.raises(PulumiError) as caught:
        workspace.prepare()
    assert str(caught.value) == (
        f"{passphrase} is lost, and nothing else opens the secrets of the stacks mine/offline. Put the file back. "
        f"If there is no copy, begin anew: `azpg arm down --delete` deletes the servers; then delete {root}."
    )
    assert not passphrase.exists() or not passphrase.read_text()
    passphrase.write_text(kept)
    workspace.prepare()


def test_a_passphrase_that_was_never_used_may_go(tmp_path: Path, project: Path) -> None:
    workspace = made(tmp_path, project)
    (tmp_path / "home" / "pulumi" / "passphrase").unlink()
    workspace.prepare()


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
            {"name": "azure-native", "path": "./.azpg/azure-native"},
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


def test_a_stack_that_was_removed_begins_with_what_is_committed(tmp_path: Path, project: Path) -> None:
    workspace = made(tmp_path, project)
    (workspace.folder / "Pulumi.offline.yaml").unlink()  # as `pulumi stack rm` does
    workspace.prepare()
    assert settings(workspace) == {"config": {"mine:size": 4}}


def test_what_another_passphrase_encrypts_stays_behind(tmp_path: Path, project: Path) -> None:
    secret = {"secure": "v1:x"}
    config = {"mine:adminPassword": secret, "mine:deep": {"list": [secret]}, "mine:size": 4}
    write(project / "Pulumi.offline.yaml", {"encryptionsalt": "v1:theirs", "config": config})
    workspace = made(tmp_path, project)
    assert settings(workspace) == {"config": {"mine:size": 4}}
    assert workspace.missing_secrets() == ["mine:adminPassword"]


@pytest.mark.parametrize("stack", ["", ".", "..", "../x", "/../../x", "org/mine/dev", "a b", "-x", "a" * 101])
def test_stacks_that_none_is(tmp_path: Path, project: Path, stack: str) -> None:
    with pytest.raises(PulumiError, match=r"the stack name .* is not allowed. Use 1 to 100 letters, digits,"):
        Workspace(Home(tmp_path / "home"), project, stack)


@pytest.mark.parametrize("name", ["../../x", "a/b", ".."])
def test_projects_that_none_is(tmp_path: Path, project: Path, name: str) -> None:
    write(project / "Pulumi.yaml", {**PROJECT, "name": name})
    with pytest.raises(PulumiError, match=r"the project name .* is not allowed. Use 1 to 100 letters"):
        Workspace(Home(tmp_path / "home"), project, "offline")


def test_a_home_inside_the_project_is_not_linked_into_itself(project: Path) -> None:
    (project / "loop").symlink_to("loop")
    workspace = Workspace(Home(project / "kept" / "home"), project, "offline")
    with workspace.alone():
        workspace.prepare()
    assert {path.name for path in workspace.folder.iterdir() if path.is_symlink()} == {"infra", "loop"}


def test_the_projects_own_plugins_and_journal_are_there(tmp_path: Path, project: Path) -> None:
    (project / "plugins").mkdir()
    (project / "journal").mkdir()
    folder = made(tmp_path, project).folder
    assert (folder / "plugins").resolve() == project / "plugins"
    assert (folder / "journal").resolve() == project / "journal"


def test_a_home_that_is_no_url(tmp_path: Path, project: Path) -> None:
    workspace = Workspace(Home(tmp_path / "a b%41?#é"), project, "offline")
    url = workspace.environment()["PULUMI_BACKEND_URL"]
    assert url == f"file://{tmp_path}/a%20b%2541%3F%23%C3%A9/pulumi/state"


def test_several_at_once_share_one_passphrase(tmp_path: Path, project: Path) -> None:
    seen: list[str] = []

    def prepare() -> None:
        seen.append((made(tmp_path, project).folder.parents[1] / "passphrase").read_text())

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(prepare) for _ in range(8)]:
            done.result()
    assert len(set(seen)) == 1


def test_the_home_is_made_as_every_command_makes_it(tmp_path: Path, project: Path) -> None:
    made(tmp_path, project)
    (tmp_path / "other").mkdir()
    other = Home(tmp_path / "other" / "home")
    other.create()
    assert (tmp_path / "home").stat().st_mode == other.root.stat().st_mode


def test_the_callers_way_to_the_cloud_is_left_out() -> None:
    kept = {"PATH": "/bin", "PULUMI_PARALLEL": "2", "HTTPS_PROXY": "x"}
    away = {
        "PULUMI_CONFIG_PASSPHRASE": "x",
        "PULUMI_ACCESS_TOKEN": "x",
        "PULUMI_DIY_BACKEND_GZIP": "true",
        "AZURE_CLIENT_ID": "x",
        "AZURE_CLIENT_SECRET": "x",
        "AZURE_TOKEN_CREDENTIALS": "dev",
    }
    assert without_cloud({**kept, **away}) == kept


def test_secrets_that_are_missing_and_ones_for_them(tmp_path: Path, project: Path) -> None:
    workspace = made(tmp_path, project)
    assert workspace.missing_secrets() == ["mine:adminPassword"]
    write(workspace.folder / "Pulumi.offline.yaml", {"config": {"mine:adminPassword": {"secure": "y"}}})
    assert workspace.missing_secrets() == []
    one, other = Workspace.new_secret(), Workspace.new_secret()
    assert one != other
    assert all(any(map(test, one)) for test in (str.isupper, str.islower, str.isdigit))


def test_our_own_program_gets_its_password(tmp_path: Path, project: Path) -> None:
    write(project / "Pulumi.yaml", {"name": "azpg", "runtime": "python"})
    assert made(tmp_path, project).missing_secrets() == ["azpg:adminPassword"]


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
