"""How an instance is, at one moment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Status:
    """How an instance is.

    Attributes:
        state: `running`, `stopped`, or `degraded` when some of server, model host and TLS front do not run.
        host_state: `running`, `silent` for a model host that does not answer, or `stopped`.
        host_as_root: why the model host of a server that root runs has stayed root; '' where it has not.
        tls_port: where clients may speak TLS; None until the first `up` by an azpg that has it.
        tls_state: `running` or `stopped`, of the TLS front.
        outdated: the parts, PostgreSQL or model host, that another version of azpg started.
        not_loaded: preload libraries that this PostgreSQL lacks, and why.
        missing_extensions: what is allow-listed and not carried by this PostgreSQL, and why.
        pending_restart: server parameters that wait for a restart.
        models: the registered models, each with its URI, its content digest and whether it is loaded.
        deployments: the models that allow-listing an extension deploys, each with URI, state and reason.
    """

    name: str
    state: str
    host: str
    port: int
    tls_port: int | None
    tls_state: str
    socket_dir: str
    postgres_version: str
    postgres_pid: int | None
    host_pid: int | None
    host_state: str
    host_as_root: str
    admin: str
    location: str
    sku: str
    created_newly: bool
    profile: str
    not_loaded: dict[str, str]
    missing_extensions: dict[str, str]
    pending_restart: list[str]
    outdated: list[str]
    models: list[dict[str, Any]]
    deployments: list[dict[str, str]]

    def as_json(self) -> dict[str, Any]:
        """The machine-readable form."""
        return {"version": 1, **asdict(self)}
