"""The folder in which `azpg pulumi` runs a program as it stands, against the ARM twin.

::

    AZPG_HOME/pulumi/
      passphrase              of the secrets in every offline stack, 0600
      home/                   PULUMI_HOME
      state/                  the file backend
      projects/NAME-HASH/     one for each project folder
        Pulumi.yaml           the project's, and a `plugins:` block, which must not stand in that one
        Pulumi.STACK.yaml     the project's, and what `pulumi config set` added
        .azpg/azure-native/   the provider's executable
        .azpg/python/         what Pulumi takes for the program's virtual environment
        .azpg/journal/        what is being created
        .azpg/committed/      the project's settings as they were last taken over
        …                     links to everything else of the project
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from azpg_runtime.errors import PulumiError
from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.home import Home
from azpg_runtime.pulumi.passphrase import Passphrase
from azpg_runtime.system.locks import locked

PLUGIN = "pulumi-resource-azure-native"
_FOLDER = ".azpg"
_NAME = re.compile(r"(?!-)(?!\.+$)[A-Za-z0-9_.-]{1,100}")
"""Pulumi's rule for projects and stacks, without what would be an option or a folder."""
_SECRET_BYTES = 24

_UNDECLARED = {"azpg": ["adminPassword"]}
"""Secrets that a project needs and does not declare: Pulumi would insist on a value in every stack."""

Settings = dict[str, Any]


class Workspace:
    """The generated folder of one project and stack.

    Args:
        home: where the twin keeps things.
        project: the folder that holds Pulumi.yaml.
        stack: the stack's name.

    Raises `PulumiError` if there is no project, its files are not YAML of the expected shape, a name is
    none, or its language is not Python.
    """

    def __init__(self, home: Home, project: Path, stack: str) -> None:
        self.project = project.resolve()
        self.stack = stack
        self._home = home
        self._definition = _load(self.project / "Pulumi.yaml")
        name = self._definition.get("name")
        if not isinstance(name, str):
            raise PulumiError(f"{self.project / 'Pulumi.yaml'} has no `name`.")
        for what, one in (("project", name), ("stack", stack)):
            if not _NAME.fullmatch(one):
                raise PulumiError(
                    f"the {what} name {one!r} is not allowed",
                    hint="Use 1 to 100 letters, digits, hyphens, underscores and dots, not a hyphen first.",
                )
        self.name = name
        self._options = self._runtime_options()
        self._root = home.root / "pulumi"
        self._passphrase = Passphrase(self._root)
        key = hashlib.sha256(os.fsencode(self.project)).hexdigest()[:8]
        self.folder = self._root / "projects" / f"{name}-{key}"

    @property
    def _settings(self) -> Path:
        return self.folder / f"Pulumi.{self.stack}.yaml"

    @property
    def exists(self) -> bool:
        """Whether Pulumi knows the stack already."""
        return (self._root / "state" / ".pulumi" / "stacks" / self.name / f"{self.stack}.json").exists()

    def environment(self) -> dict[str, str]:
        """What the Pulumi command line is told: a backend, a home and a passphrase of our own, no network."""
        return {
            "PULUMI_BACKEND_URL": f"file://{quote(str(self._root / 'state'))}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self._passphrase.path),
            "PULUMI_HOME": str(self._root / "home"),
            "PULUMI_STACK": self.stack,
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
            "AZPG_PULUMI_JOURNAL": str(self.folder / _FOLDER / "journal" / self.stack),
        }

    def alone(self) -> AbstractContextManager[None]:
        """Keeps other commands of this home from preparing a stack meanwhile."""
        self._home.create()
        return locked(self._home.root / "locks" / "pulumi")

    def prepare(self) -> None:
        """Makes the folder, or brings it up to date with the project. Only inside `alone`.

        Raises `PulumiError` when the passphrase is lost.
        """
        for folder in (self._root, self._root / "state", self._root / "home", self.folder):
            make_folder(folder, 0o700)
        self._passphrase.ensure()
        self._link()
        self._write_programs()
        write_atomically(self.folder / "Pulumi.yaml", yaml.safe_dump(self._with_plugins(), sort_keys=False))
        self._take_over_settings()

    def missing_secrets(self) -> list[str]:
        """Keys of secrets that the program needs and that have no value in this stack."""
        declared = self._definition.get("config") or {}
        values = (_load(self._settings) if self._settings.exists() else {}).get("config") or {}
        needed = [
            key if ":" in key else f"{self.name}:{key}"
            for key, entry in declared.items()
            if isinstance(entry, dict) and entry.get("secret") is True
        ]
        needed += [f"{self.name}:{key}" for key in _UNDECLARED.get(self.name, [])]
        return [key for key in needed if key not in values]

    @staticmethod
    def new_secret() -> str:
        """A password that Azure's rules accept: it has letters of both cases and digits."""
        return f"Az1{secrets.token_urlsafe(_SECRET_BYTES)}"

    def _runtime_options(self) -> Settings:
        """Pulumi's options of the project's Python. Raises `PulumiError` for another language."""
        runtime = self._definition.get("runtime")
        known = runtime if isinstance(runtime, dict) else {"name": runtime}
        name = known.get("name")
        if name != "python":
            raise PulumiError(
                f"`azpg pulumi` runs programs in Python, and the runtime of this one is {name!r}",
                hint="Run it with pulumi itself, on Azure.",
            )
        return dict(known.get("options") or {})

    def _with_plugins(self) -> Settings:
        definition = dict(self._definition)
        plugins = dict(definition.get("plugins") or {})
        others = [one for one in plugins.get("providers") or [] if one.get("name") != "azure-native"]
        plugins["providers"] = [*others, {"name": "azure-native", "path": f"./{_FOLDER}/azure-native"}]
        definition["plugins"] = plugins
        # The program runs where azpg does: that environment has what it needs. It need not be a virtual one.
        options = {**self._options, "virtualenv": f"{_FOLDER}/python", "toolchain": "pip"}
        definition["runtime"] = {"name": "python", "options": options}
        return definition

    def _write_programs(self) -> None:
        python = shlex.quote(sys.executable)
        for path, command in (
            (Path("azure-native", PLUGIN), f"{python} -P -m azpg_runtime.pulumi"),
            (Path("python", "bin", "python"), python),
        ):
            program = self.folder / _FOLDER / path
            program.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(program, f'#!/bin/sh\nexec {command} "$@"\n', mode=0o755)

    def _link(self) -> None:
        """Links what the project has, and takes away links to what it has no longer."""
        for path in self.folder.iterdir():
            if path.is_symlink() and not (self.project / path.name).exists():
                path.unlink()
        for path in self.project.iterdir():
            link = self.folder / path.name
            if path.name == _FOLDER or (path.name.startswith("Pulumi.") and path.suffix == ".yaml"):
                continue
            if Path(os.path.realpath(self.folder)).is_relative_to(os.path.realpath(path)):
                continue  # AZPG_HOME lies in the project: a link would lead round and round
            if not link.is_symlink() and not link.exists():
                link.symlink_to(path)

    def _take_over_settings(self) -> None:
        """Brings what changed in the committed stack file into ours, which has more in it.

        Encrypted values stay behind: only the passphrase of that file's own backend opens them.
        """
        source = self.project / f"Pulumi.{self.stack}.yaml"
        committed = _plain((_load(source) if source.exists() else {}).get("config") or {})
        record = self.folder / _FOLDER / "committed" / f"{self.stack}.yaml"
        before: Settings = {}
        mine: Settings = {}
        if self._settings.exists():  # `pulumi stack rm` removes it, and with it all that was taken over
            mine = _load(self._settings)
            before = (_load(record) if record.exists() else {}).get("config") or {}
        config = merged(committed, before, mine.get("config") or {})
        mine = {**{key: value for key, value in mine.items() if key != "config"}, "config": config}
        write_atomically(self._settings, yaml.safe_dump(mine, sort_keys=False), mode=0o600)
        record.parent.mkdir(exist_ok=True)
        write_atomically(record, yaml.safe_dump({"config": committed}, sort_keys=False))


def find_project(start: Path) -> Path:
    """The folder with Pulumi.yaml at `start` or above. Raises `PulumiError` if there is none."""
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder
    raise PulumiError(
        f"there is no Pulumi.yaml in {start} or above",
        hint="Go to the project's folder, or name it with --cwd.",
    )


def merged(committed: Settings, before: Settings, mine: Settings) -> Settings:
    """`mine` with what has changed from `before` to `committed`."""
    result = dict(mine)
    for key in {*committed, *before}:
        if key in committed and committed[key] != before.get(key):
            result[key] = committed[key]
        elif key not in committed:
            result.pop(key, None)
    return result


def _plain(config: Settings) -> Settings:
    return {key: value for key, value in config.items() if not _is_encrypted(value)}


def _is_encrypted(value: Any) -> bool:
    if isinstance(value, dict):
        return "secure" in value or any(map(_is_encrypted, value.values()))
    return isinstance(value, list) and any(map(_is_encrypted, value))


def _load(path: Path) -> Settings:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PulumiError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise PulumiError(f"{path} is no mapping of keys to values.")
    return content
