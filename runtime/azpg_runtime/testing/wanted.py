"""What a twin of the tests is to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from azpg.errors import UsageError
from azpg.extensions import join, normalise
from azpg.profiles import LOCAL_AI
from azpg_runtime.errors import InstanceError
from azpg_runtime.models import ModelStore
from azpg_runtime.models.registry import normalise_uri
from azpg_runtime.postgres.bundled import DEFAULT_MAJOR
from azpg_runtime.postgres.description import Description, Wishes
from azpg_runtime.postgres.parameters import check_extensions
from azpg_runtime.postgres.pgconfig import PgConfig

_USUAL = ("vector", LOCAL_AI)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The properties of a twin; None stands for what `azpg up` gives a new one.

    Attributes:
        postgres: PostgreSQL's major version.
        build: of several bundled PostgreSQL of that major, which one.
        pg_config: path of the pg_config of a PostgreSQL to use instead of a bundled one.
        extensions: what is allow-listed and created; None stands for vector and azure_local_ai, as far as
            the twin offers them.
        models: URIs to register, each for the model of the store that has its name.
        profile: see `azpg.profiles`, as for location and sku.
    """

    postgres: int | None = None
    build: str | None = None
    pg_config: str | None = None
    extensions: tuple[str, ...] | None = None
    models: tuple[str, ...] = ()
    profile: str | None = None
    location: str | None = None
    sku: str | None = None

    def changed(
        self,
        *,
        postgres: int | str | None = None,
        build: str | None = None,
        pg_config: str | None = None,
        extensions: Iterable[str] | None = None,
        models: Iterable[str] | None = None,
        profile: str | None = None,
        location: str | None = None,
        sku: str | None = None,
    ) -> Wanted:
        """This with other properties, where they are given. Raises `AzpgError` for what has no meaning.

        `extensions` and `models` may have commas in them; a model is NAME, for NAME:v1, or NAME:VERSION.
        """
        changes: dict[str, Any] = {
            "build": build,
            "pg_config": pg_config,
            "profile": profile,
            "location": location,
            "sku": sku,
        }
        if postgres is not None:
            changes["postgres"] = _major(postgres)
        if extensions is not None:
            changes["extensions"] = tuple(normalise(join(extensions)))
        if models is not None:
            names = [name.strip() for name in join(models).split(",")]
            changes["models"] = tuple(dict.fromkeys(normalise_uri(name) for name in names if name))
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def wishes(self) -> Wishes:
        """What `Instance.up` is asked for."""
        return Wishes(
            major=self.postgres,
            build=self.build,
            pg_config=self.pg_config,
            profile=self.profile,
            location=self.location,
            sku=self.sku,
            durable=False,
        )

    def created(self, description: Description) -> tuple[str, ...]:
        """The extensions that are created on such a server."""
        if self.extensions is not None:
            return self.extensions
        return tuple(name for name in _USUAL if name in description.offer.extensions)

    def check(self, store: ModelStore) -> None:
        """Raises `AzpgError` for what no server can be, and for models that `store` lacks."""
        major = self.postgres or DEFAULT_MAJOR
        if self.pg_config and self.postgres is None:
            major = PgConfig.ask(Path(self.pg_config)).major
        description = Description("default", os_user="", major=major).changed(self.wishes())
        description.check()
        extensions = self.created(description)
        check_extensions(join(extensions), description.offer)
        if self.models and LOCAL_AI not in extensions:
            reason = description.offer.missing.get(LOCAL_AI, "it is not among the extensions")
            raise UsageError(f"models cannot be registered without {LOCAL_AI}: {reason}")
        for uri in self.models:
            store.get(model_name(uri))


def model_name(uri: str) -> str:
    """The store's name of the model that a URI is registered for."""
    return uri.partition(":")[0]


def _major(value: int | str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InstanceError(f"{value!r} is no major version of PostgreSQL.", hint="Use 16 or 18.") from None
