"""Where a spec is applied: one server, however it was found.

Implementations: `azpg_provision.target.local` (the twin), `.dsn`, `.azure` (by resource id or by the outputs
of a Pulumi stack). Everything else of azpg_provision speaks to this protocol only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]


class Target(Protocol):
    """One server.

    Attributes:
        name: how a person knows it; no secret is in it.
        kind: ``local``, ``dsn`` or ``azure``.
    """

    name: str
    kind: str

    def connect(self, database: str = "postgres", *, autocommit: bool = True) -> Connection:
        """A new connection as the server's admin, with ``application_name=azpg`` and a pinned search_path.

        A token that is about to expire is renewed first. Raises `TargetUnreachable`, in words and without
        secrets.
        """
        ...

    def allowed_values(self, parameter: str) -> frozenset[str] | None:
        """What a list parameter such as `azure.extensions` may hold; None where that cannot be known."""
        ...

    def parameter(self, name: str) -> str:
        """A server parameter's value, as the server's management says it (SHOW, where there is none)."""
        ...

    def pending_restart(self, parameter: str) -> bool:
        """Whether a parameter's value waits for a restart; False where that cannot be known."""
        ...

    def set_list(self, parameter: str, names: Sequence[str]) -> bool:
        """Sees to it that a list parameter holds `names`, which are what it held and what is to be added.

        Returns whether a restart is needed for it to take effect.

        Raises `PlanRefused` where the target has no management side (a plain DSN), with what to ask for.
        """
        ...

    def missing_libraries(self, names: Sequence[str]) -> Mapping[str, str]:
        """Which of these libraries the server could not preload, and why; none where that cannot be known."""
        ...

    def model_trouble(self, source: str, tokenizer: str | None) -> str:
        """Why the server could not register a model; '' where it can, or where that cannot be known.

        Args:
            source: a model of the store, or a path, as `model_register` takes it.
            tokenizer: the path of its tokenizer, None for the one that belongs to it.
        """
        ...

    def registered_models(self) -> frozenset[str] | None:
        """The URIs that models are registered by; None where only azure_local_ai can say it."""
        ...

    def restart(self) -> None:
        """Restarts the server and waits until it answers. Raises `PlanRefused` as `set_list` does."""
        ...

    def close(self) -> None:
        """Lets go of what was opened to ask of the server; connections are their own."""
        ...
