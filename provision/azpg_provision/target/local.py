"""A local twin as a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg

from azpg.extensions import join, normalise
from azpg_provision.errors import PlanRefused, TargetUnreachable
from azpg_provision.target.connecting import OPTIONS, unlimited, unreachable
from azpg_provision.target.target import Connection
from azpg_runtime import Twin
from azpg_runtime.errors import InstanceNotRunning, RuntimeTwinError


class LocalTarget:
    """A local twin; see `azpg_provision.target.target.Target`."""

    kind = "local"

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self.name = f"local {twin.name}"

    @property
    def twin(self) -> Twin:
        """The local server."""
        return self._twin

    def connect(self, database: str = "postgres", *, autocommit: bool = True) -> Connection:
        """As `Target.connect`. Raises the runtime's own error for a twin that is not there."""
        try:
            return unlimited(self._twin.connect(database, autocommit=autocommit, **OPTIONS))
        except InstanceNotRunning as error:  # it may be back soon, as any server
            raise TargetUnreachable(str(error)) from None
        except psycopg.Error as error:
            hint = f"`azpg status {self._twin.name}` says how it is."
            raise unreachable(self.name, database, error, hint) from None

    def allowed_values(self, parameter: str) -> frozenset[str] | None:
        """As `Target.allowed_values`."""
        return frozenset(normalise(self._twin.parameter(parameter).allowed_values))

    def parameter(self, name: str) -> str:
        """As `Target.parameter`."""
        return self._twin.parameter(name).value

    def pending_restart(self, parameter: str) -> bool:
        """As `Target.pending_restart`."""
        return self._twin.parameter(parameter).is_config_pending_restart

    def set_list(self, parameter: str, names: Sequence[str]) -> bool:
        """As `Target.set_list`."""
        before = self._twin.parameter(parameter).value
        found = self._twin.set_parameter(parameter, join(names))
        added = set(names) - set(normalise(before))
        if missing := sorted(added & found.remarks.keys()):
            self._twin.set_parameter(parameter, before)  # else the next plan would take it for done
            raise PlanRefused(f"{', '.join(missing)} {found.remarks[missing[0]]}.")
        return found.is_config_pending_restart

    def missing_libraries(self, names: Sequence[str]) -> Mapping[str, str]:
        """As `Target.missing_libraries`."""
        return self._twin.missing_libraries(names)

    def model_trouble(self, source: str, tokenizer: str | None) -> str:
        """As `Target.model_trouble`: the store is on this machine, and so is the folder of the paths."""
        from azpg_runtime.models import ModelStore  # noqa: PLC0415 - it takes a while

        home = self._twin.home
        if (home.models / source).exists():
            return ""
        if "/" in source or tokenizer is not None:
            return f"there is no {source} below {home.models}: put it there, or name a model of the store."
        try:
            ModelStore(home.home.models).get(source)
        except RuntimeTwinError as error:
            return str(error)
        return ""

    def registered_models(self) -> frozenset[str] | None:
        """As `Target.registered_models`; None while the model host does not run."""
        status = self._twin.status()
        return frozenset(str(one["uri"]) for one in status.models) if status.host_pid is not None else None

    def close(self) -> None:
        """As `Target.close`: there is nothing."""

    def restart(self) -> None:
        """As `Target.restart`."""
        self._twin.restart()
