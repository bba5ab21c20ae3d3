"""Server parameters as Azure describes them: what they are set to, what is in force, what may be set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from azpg.extensions import join, normalise
from azpg.profiles import PRELOADABLE, Offer
from azpg.suggestions import did_you_mean
from azpg_runtime.errors import ParameterRefused
from azpg_runtime.files import write_atomically
from azpg_runtime.home import InstanceHome
from azpg_runtime.postgres import definitions, preload
from azpg_runtime.postgres.cluster import Cluster
from azpg_runtime.postgres.configuration import DEFAULTS, OWNED, PROGRAMS, render
from azpg_runtime.postgres.definitions import Definition
from azpg_runtime.wait import wait_for

EXTENSIONS = "azure.extensions"
_SETS = frozenset({EXTENSIONS, preload.PARAMETER})
_TYPES = {
    "bool": "Boolean",
    "integer": "Integer",
    "real": "Numeric",
    "enum": "Enumeration",
    "string": "String",
}
_RELOAD_TIMEOUT = 10.0
_FEW = 12
"""So many values are named in an error; more would hide what is wrong."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One server parameter, with the properties that Azure gives it.

    Attributes:
        value: what it is set to, numbers in `unit`; a static one may still have to wait for a restart.
        in_force: what the running server uses; None while it does not run.
        default_value: what it is without having been set.
        data_type: Boolean, Integer, Numeric, Enumeration, String or Set.
        allowed_values: `on,off`, `LEAST-GREATEST`, the words of an enumeration or set, or '' for any text.
        is_dynamic_config: whether a change takes effect without a restart.
        is_read_only: whether it cannot be set, because PostgreSQL or the twin decides it.
        is_config_pending_restart: whether the value waits for a restart.
        source: `user-override` for what was set, else `system-default`.
        remarks: names that could stand in the value, and why they do not work here.
    """

    name: str
    value: str
    in_force: str | None
    default_value: str
    data_type: str
    allowed_values: str
    unit: str
    description: str
    is_dynamic_config: bool
    is_read_only: bool
    is_config_pending_restart: bool
    source: str
    remarks: dict[str, str] = field(default_factory=dict)


class ParameterFile:
    """Values by parameter, in a file beside the instance."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, str]:
        """What was saved. Raises `ParameterRefused` for a file that is damaged."""
        try:
            kept = json.loads(self._path.read_text())
            if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
                raise ValueError("it holds no JSON object of texts")
            owned = sorted(OWNED & kept.keys())
            if owned:
                raise ValueError(f"it sets {', '.join(owned)}, which the twin decides")
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ParameterRefused(
                f"{self._path} is damaged: {error}.", hint="Delete it and set them again."
            ) from None
        return kept

    def save(self, values: Mapping[str, str]) -> None:
        """Replaces what was saved."""
        write_atomically(self._path, json.dumps(dict(sorted(values.items())), indent=2) + "\n")


class ServerParameters:
    """The server parameters of one instance, whether it runs or not.

    Args:
        home: the instance's folders.
        cluster: its PostgreSQL, which is asked what it takes.
        offer: what the server offers.
        connect: opens the superuser's connection in autocommit; only used while the server runs.
    """

    def __init__(
        self,
        home: InstanceHome,
        cluster: Cluster,
        offer: Offer,
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
    ) -> None:
        self._home = home
        self._cluster = cluster
        self._offer = offer
        self._connect = connect
        self._file = ParameterFile(home.parameters)
        self._started = ParameterFile(home.conf / "started.json")
        self._definitions = home.conf / "definitions.json"

    # What there is

    def all(self) -> list[Parameter]:
        """Every parameter, by name."""
        return self._read(definitions.load(self._definitions))

    def get(self, name: str) -> Parameter:
        """One parameter. Raises `ParameterRefused` for a name there is not."""
        return self._read({name: self._definition(name)})[0]

    def values(self) -> dict[str, str]:
        """What was set, by name."""
        return self._file.load()

    def preload(self) -> preload.Preload:
        """The libraries that the server is to be started with, and those that it lacks."""
        return preload.divide(
            self.values().get(preload.PARAMETER, preload.DEFAULT), self._cluster.installation
        )

    def missing_extensions(self) -> dict[str, str]:
        """What is allow-listed and not carried by this PostgreSQL, and why."""
        installation = self._cluster.installation
        names = normalise(self.values().get(EXTENSIONS, ""))
        return {name: installation.lacks_it for name in names if not installation.has_extension(name)}

    def suspects(self) -> dict[str, str]:
        """What was set since the server last started well, and has not been in force."""
        started = self._started.load()
        return {name: value for name, value in self.values().items() if started.get(name) != value}

    @property
    def known(self) -> bool:
        """Whether a server has told what parameters there are."""
        return self._definitions.exists()

    def pending(self) -> list[str]:
        """The parameters that wait for a restart of the running server, not asked: it may be ending."""
        kept, started = self.values(), self._started.load()
        known = definitions.load(self._definitions)
        return [name for name, definition in known.items() if _waits(definition, kept, started)]

    # Changes

    def set(self, name: str, value: str) -> Parameter:
        """Sets a parameter for good and returns how it stands then. Raises `ParameterRefused`."""
        definition = self._definition(name)
        if _read_only(definition):
            raise ParameterRefused(f"the server parameter {name!r} is read-only.")
        if any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in value):
            raise ParameterRefused(f"the value for {name!r} has control characters, or is not UTF-8.")
        return self._change(definition, self.values() | {name: self._accepted(definition, value)})

    def reset(self, name: str) -> Parameter:
        """Returns a parameter to its default. Raises `ParameterRefused` for a name there is not."""
        kept = self.values()
        kept.pop(name, None)
        return self._change(self._definition(name), kept)

    def note_start(self) -> None:
        """Remembers what the server, which has just started, knows and was started with."""
        with self._connect() as connection:
            definitions.save(self._definitions, definitions.read(connection))
        self._started.save(self.values())

    def _definition(self, name: str) -> Definition:
        known = definitions.load(self._definitions)
        if name not in known:
            raise ParameterRefused(
                f"there is no server parameter {name!r}.",
                detail=did_you_mean(name, known),
                hint="`azpg server parameter list` names them all.",
            )
        return known[name]

    def _accepted(self, definition: Definition, value: str) -> str:
        """`value` in the form that the parameter keeps it. Raises `ParameterRefused`."""
        if definition.name == EXTENSIONS:
            return check_extensions(value, self._offer)
        if definition.name == preload.PARAMETER:
            return preload.check(value)
        accepted, said = self._cluster.try_parameter(
            self._home.conf / "postgresql.conf", definition.name, value
        )
        if accepted is None:
            raise ParameterRefused(
                f"{value!r} is not allowed for {definition.name!r}: {said.rstrip('.')}.",
                detail=definition.advice,
            )
        return accepted

    def _change(self, definition: Definition, wanted: Mapping[str, str]) -> Parameter:
        write_included(self._home.conf, wanted)
        self._file.save(wanted)
        if self._cluster.postmaster() is not None:
            with self._connect() as connection:
                _reload(connection, definition.name)
            if _dynamic(definition):  # in force now: a later start cannot fail because of it
                self._started.save(_with(self._started.load(), definition.name, wanted))
        return self.get(definition.name)

    # Reading

    def _read(self, wanted: Mapping[str, Definition]) -> list[Parameter]:
        kept, started, running = self.values(), self._started.load(), self._running()
        return [self._parameter(definition, kept, started, running) for definition in wanted.values()]

    def _running(self) -> dict[str, str] | None:
        if self._cluster.postmaster() is None:
            return None
        with self._connect() as connection:
            return dict(connection.execute("SELECT name, coalesce(setting, '') FROM pg_settings").fetchall())

    def _parameter(
        self,
        definition: Definition,
        kept: Mapping[str, str],
        started: Mapping[str, str],
        running: Mapping[str, str] | None,
    ) -> Parameter:
        name = definition.name
        dynamic = _dynamic(definition)
        waits = running is not None and _waits(definition, kept, started)
        in_force = None if running is None else running.get(name)
        default = DEFAULTS.get(name, definition.default or "")
        if name == preload.PARAMETER:
            default = preload.DEFAULT
            # In force, too, is what Azure would have; what is really loaded is in the remarks.
            in_force = None if running is None else started.get(name, default)
        elif name not in kept and in_force is not None and not waits:
            default = in_force  # PostgreSQL computes some defaults, such as wal_buffers
        return Parameter(
            name=name,
            value=kept.get(name, default),
            in_force=in_force,
            default_value=default,
            data_type="Set" if name in _SETS else _TYPES[definition.type],
            allowed_values=self._allowed(definition),
            unit=definition.unit,
            description=definition.description,
            is_dynamic_config=dynamic,
            is_read_only=_read_only(definition),
            is_config_pending_restart=waits,
            source="user-override" if name in kept else "system-default",
            remarks=self._remarks(name),
        )

    def _allowed(self, definition: Definition) -> str:
        names = {EXTENSIONS: self._offer.extensions, preload.PARAMETER: PRELOADABLE}.get(definition.name)
        return definition.allowed if names is None else join(sorted(names))

    def _remarks(self, name: str) -> dict[str, str]:
        if name == EXTENSIONS:
            not_offered = {name: f"not offered: {reason}" for name, reason in self._offer.missing.items()}
            return self.missing_extensions() | not_offered
        return self.preload().missing if name == preload.PARAMETER else {}


def check_extensions(value: str, offer: Offer) -> str:
    """`value` as `azure.extensions` holds it. Raises `ParameterRefused` for names that are not offered."""
    names = normalise(value)
    refused = [name for name in names if name not in offer.extensions]
    if refused:
        reasons = [f"{name}: {offer.missing[name]}." for name in refused if name in offer.missing]
        unknown = [name for name in refused if name not in offer.missing]
        suggestions = [did_you_mean(name, offer.extensions, most=1) for name in unknown]
        hint = f"`azpg server parameter show {EXTENSIONS}` names the {len(offer.extensions)} allowed values."
        if len(offer.extensions) <= _FEW:
            hint = f"The allowed values are {', '.join(sorted(offer.extensions))}."
        raise ParameterRefused(
            f"{', '.join(refused)} cannot be allow-listed on this server.",
            detail=" ".join([*reasons, *filter(None, suggestions)]),
            hint=hint,
        )
    return join(names)


def write_included(folder: Path, values: Mapping[str, str]) -> None:
    """Writes the file that postgresql.conf includes: what people set and PostgreSQL reads by itself."""
    own = {name: value for name, value in values.items() if name != preload.PARAMETER}
    write_atomically(folder / "parameters.conf", render(own))


def _dynamic(definition: Definition) -> bool:
    return definition.context not in {"internal", "postmaster"}


def _waits(definition: Definition, kept: Mapping[str, str], started: Mapping[str, str]) -> bool:
    """Whether a server that was started with other values than those that were set has to be restarted."""
    return not _dynamic(definition) and kept.get(definition.name) != started.get(definition.name)


def _with(values: Mapping[str, str], name: str, other: Mapping[str, str]) -> dict[str, str]:
    """`values`, with what `other` says of one name, be it nothing."""
    rest = {key: value for key, value in values.items() if key != name}
    return rest | ({name: other[name]} if name in other else {})


def _read_only(definition: Definition) -> bool:
    return definition.context == "internal" or definition.name in OWNED | PROGRAMS


def _reload(connection: psycopg.Connection[Any], name: str) -> None:
    loaded = "SELECT pg_conf_load_time()"
    earlier = connection.execute(loaded).fetchone()
    connection.execute("SELECT pg_reload_conf()")
    if not wait_for(lambda: connection.execute(loaded).fetchone() != earlier, timeout=_RELOAD_TIMEOUT):
        raise ParameterRefused(
            f"{name!r} is set, but the server has not read it within {_RELOAD_TIMEOUT:g} s.",
            hint="It will; see `azpg server parameter show`.",
        )
