"""What an instance is: the answers that `azpg up` was given, kept for every later `up`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from azpg.azure.regions import check_region
from azpg.errors import AzpgError, UsageError
from azpg.profiles import Offer, Sku, offer
from azpg_runtime.errors import InstanceError
from azpg_runtime.files import write_atomically
from azpg_runtime.home import Home
from azpg_runtime.postgres import bundled
from azpg_runtime.postgres.account import check_os_user, own_account
from azpg_runtime.postgres.installation import Original
from azpg_runtime.postgres.pgconfig import SUPPORTED, PgConfig
from azpg_runtime.postgres.roles import DEFAULT_ADMIN, check_admin_name

VERSION = 1
DEFAULT_LOCATION = "eastus"
DEFAULT_SKU = "Standard_E4ds_v5"
DEFAULT_PROFILE = "preview-2024"
_KINDS = {"int": int, "bool": bool, "str": str}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `up` is asked for; None leaves what the instance has, or the default of a new one.

    Attributes:
        major: PostgreSQL's major version; it cannot change later, nor can `admin` and `os_user`.
        build: of several bundled PostgreSQL of that major, which one; see `bundled.BUILDS`.
        pg_config: path of the pg_config of a PostgreSQL to use instead of a bundled one.
        port: a TCP port on 127.0.0.1.
        tls_port: another, where clients may speak TLS.
        created_newly: whether the server was made after azure_local_ai's preview began; older ones lack it.
        os_user: as root, the user that PostgreSQL runs as instead of one of the instance's own.
        model_memory: megabytes for loaded models, from the host's next start on; 0 for its own choice.
        durable: False trades safety in a crash of the machine for speed, for tests.
        admin_password: the admin's from now on; otherwise it has one that azpg made.
    """

    major: int | None = None
    build: str | None = None
    pg_config: str | None = None
    port: int | None = None
    tls_port: int | None = None
    admin: str | None = None
    location: str | None = None
    sku: str | None = None
    created_newly: bool | None = None
    profile: str | None = None
    os_user: str | None = None
    model_memory: int | None = None
    durable: bool = True
    admin_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Description:
    """The properties of one instance.

    Attributes:
        build: the bundled PostgreSQL that was asked for by name; '' for the major's default, whichever it is.
        pg_config: path of the pg_config of a PostgreSQL that was brought; '' for a bundled one.
        port: TCP port on 127.0.0.1, kept for good unless somebody else takes it; 0 before there is one.
        fixed_port: whether a person chose the port, so that it must not be changed silently.
        tls_port, fixed_tls_port: the same for the TLS front's port.
        admin: the server admin's role.
        os_user: the operating system's user that PostgreSQL runs as.
        model_memory, durable: see `Wishes`.
    """

    name: str
    os_user: str
    major: int = bundled.DEFAULT_MAJOR
    build: str = ""
    pg_config: str = ""
    port: int = 0
    fixed_port: bool = False
    tls_port: int = 0
    fixed_tls_port: bool = False
    admin: str = DEFAULT_ADMIN
    location: str = DEFAULT_LOCATION
    sku: str = DEFAULT_SKU
    created_newly: bool = True
    profile: str = DEFAULT_PROFILE
    model_memory: int = 0
    durable: bool = True

    @classmethod
    def new(cls, name: str, wishes: Wishes, *, os_user: str) -> Description:
        """A new instance, which root runs as `os_user` unless another is wished for.

        Raises `AzpgError` for properties that none can have.
        """
        given = {key: getattr(wishes, key) for key in ("major", "admin") if getattr(wishes, key) is not None}
        if wishes.pg_config is not None and wishes.major is None:
            given["major"] = PgConfig.ask(Path(wishes.pg_config)).major
        check_os_user(wishes.os_user)
        runs_as = (wishes.os_user or os_user) if os.geteuid() == 0 else own_account().name
        found = cls(name=name, os_user=runs_as, **given).changed(wishes)
        check_admin_name(found.admin)
        found.check()
        return found

    @property
    def offer(self) -> Offer:
        """What the server offers. Raises `UsageError` for an unknown profile or SKU."""
        return offer(self.profile, location=self.location, sku=self.sku, created_newly=self.created_newly)

    def changed(self, wishes: Wishes) -> Description:
        """This instance with other properties.

        Raises `InstanceError` for what cannot change, and `UsageError` for what Azure does not know.
        """
        for name in ("major", "admin", "os_user"):
            wish, has = getattr(wishes, name), getattr(self, name)
            if wish is not None and wish != has:
                raise InstanceError(
                    f"the instance {self.name!r} has {name} {has}; it cannot become {wish}.",
                    hint=f"Use another name, or `azpg down {self.name} --delete` first.",
                )
        given = {
            name: getattr(wishes, name)
            for name in (
                *("build", "pg_config", "port", "tls_port", "location", "sku", "created_newly", "profile"),
                "model_memory",
            )
            if getattr(wishes, name) is not None
        }
        wanted = replace(self, **given)
        if wishes.port is not None:
            wanted = replace(wanted, fixed_port=True)
        if wishes.tls_port is not None:
            wanted = replace(wanted, fixed_tls_port=True)
        if wanted.fixed_port and wanted.fixed_tls_port and wanted.port == wanted.tls_port:
            raise UsageError(f"port and TLS port cannot both be {wanted.port}: use two")
        wanted = replace(wanted, sku=Sku.parse(wanted.sku).name)
        if wishes.location is not None:  # an earlier azpg took any
            check_region(wishes.location)
        if wishes.build is not None:
            wanted._check_build()
        if wishes.pg_config is not None:
            wanted = replace(wanted, pg_config=wanted._brought(), build="")
        _ = wanted.offer
        return wanted

    def _check_build(self) -> None:
        """Raises `InstanceError` for a build that there is not, or that this instance cannot run."""
        if self.pg_config:
            raise InstanceError(
                f"the build {self.build!r} comes with azpg; {self.pg_config} is that of another PostgreSQL.",
                hint="Leave out --build, or use another name for an instance without --pg-config.",
            )
        _ = bundled.find(self.major, self.build)

    def _brought(self) -> str:
        """The path of a pg_config that fits this instance, for good. Raises `InstanceError`."""
        path = Path(self.pg_config).expanduser().absolute()
        found = PgConfig.ask(path)
        if found.major != self.major:
            raise InstanceError(
                f"the instance {self.name!r} has PostgreSQL {self.major}; {path} is that of {found.major}.",
                hint="Use another name, or another pg_config.",
            )
        return str(path)

    def original(self, home: Home) -> Original:
        """The PostgreSQL that it runs. Raises `InstanceError` or `NotAvailable`."""
        if self.pg_config:
            return PgConfig.ask(Path(self.pg_config)).original(home)
        return bundled.bundled(bundled.find(self.major, self.build or None))

    def check(self) -> None:
        """Raises `AzpgError` for properties that no instance can have."""
        check_admin_name(self.admin, exists=True)
        if self.pg_config:
            if self.major not in SUPPORTED:
                raise InstanceError(f"PostgreSQL {self.major} cannot be used.")
        else:
            _ = bundled.find(self.major, self.build or None)
        if self.model_memory < 0:
            raise InstanceError(f"{self.model_memory} MB of memory are not possible.", hint="Use 0 or more.")
        for port in (self.port, self.tls_port):
            if not 0 <= port <= 65535:
                raise InstanceError(f"{port} is no TCP port.", hint="Use one from 1 to 65535.")
        _ = self.offer

    def save(self, path: Path) -> None:
        """Writes the description."""
        kept = asdict(self)
        if not self.build:
            del kept["build"]  # an azpg from before there were builds would call the file damaged
        write_atomically(path, json.dumps({"version": VERSION, **kept}, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Description:
        """What `save` wrote. Raises `InstanceError` for anything else, FileNotFoundError for nothing."""
        try:
            kept = json.loads(path.read_text())
            if kept.pop("version") != VERSION:
                raise ValueError("it was written by another version of azpg")
            found = cls(**kept)
            for one in fields(cls):
                if type(getattr(found, one.name)) is not _KINDS[str(one.type)]:
                    raise ValueError(f"its {one.name} is no {one.type}")
            found.check()
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AzpgError) as error:
            raise InstanceError(
                f"{path} is damaged: {str(error).rstrip('.')}.",
                hint="Restore the file; the data lie beside it, untouched.",
            ) from None
        return found
