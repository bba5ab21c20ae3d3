"""One local Flexible Server: PostgreSQL, its model host, and what a person can do with both.

::

    twin = Instance("default")
    twin.up()
    with twin.connect() as connection:
        connection.execute("SELECT 1")
    twin.down()
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

from azpg.profiles import Offer, Sku, offer
from azpg_runtime.errors import InstanceError, InstanceNotFound, InstanceNotRunning
from azpg_runtime.files import write_atomically
from azpg_runtime.home import DEFAULT_INSTANCE, Home
from azpg_runtime.host.control import HostControl, rotate
from azpg_runtime.postgres import configuration, parameters, ports
from azpg_runtime.postgres.account import Account, server_account
from azpg_runtime.postgres.cluster import Cluster
from azpg_runtime.postgres.description import Description
from azpg_runtime.postgres.installation import DEFAULT_MAJOR, MAJORS, prepare
from azpg_runtime.postgres.lock import locked
from azpg_runtime.postgres.parameters import Parameter, ParameterFile
from azpg_runtime.postgres.roles import (
    DEFAULT_ADMIN,
    MAINTENANCE,
    SAFE_OPTIONS,
    SUPERUSER,
    check_admin_name,
    create_maintenance_database,
    create_roles,
)

HOST = "127.0.0.1"
DEFAULT_LOCATION = "eastus"
DEFAULT_SKU = "Standard_E4ds_v5"
DEFAULT_PROFILE = "preview-2024"
_PASSWORD_BYTES = 24


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `up` is asked for; None leaves what the instance has, or the default of a new one.

    Attributes:
        major: PostgreSQL's major version; it cannot change later, nor can `admin`.
        port: a TCP port on 127.0.0.1.
        os_user: as root, the user that PostgreSQL runs as.
        durable: False trades safety in a crash of the machine for speed, for tests.
    """

    major: int | None = None
    port: int | None = None
    admin: str | None = None
    location: str | None = None
    sku: str | None = None
    profile: str | None = None
    os_user: str | None = None
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Status:
    """How an instance is.

    Attributes:
        state: `running`, `stopped`, or `degraded` when only one of server and model host runs.
        models: the registered models, each with its URI, its content digest and whether it is loaded.
    """

    name: str
    state: str
    host: str
    port: int
    socket_dir: str
    postgres_version: str
    postgres_pid: int | None
    host_pid: int | None
    admin: str
    location: str
    sku: str
    profile: str
    models: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The machine-readable form."""
        return {"version": 1, **asdict(self)}


class Instance:
    """A local server by name. Making the object touches nothing.

    Args:
        name: lower-case letters, digits and hyphens.
        home: where everything lives; None stands for AZPG_HOME or its default.
    """

    def __init__(self, name: str = DEFAULT_INSTANCE, *, home: Home | None = None) -> None:
        self.home = (home or Home.from_environment()).instance(name)
        self.name = name

    # Life

    def up(self, wishes: Wishes | None = None, *, say: Callable[[str], None] = lambda _: None) -> bool:
        """Starts what does not run yet; a new instance is made first. Returns False if all of it ran already.

        Args:
            wishes: see `Wishes`.
            say: told what is being done, a sentence at a time.
        """
        wishes = wishes or Wishes()
        with self._locked(say):
            description = self._describe(wishes)
            cluster = self._cluster(description)
            host = HostControl(self.home, server_uid=cluster.account.uid)
            running = cluster.postmaster() is not None and host.running()
            self._make_folders(cluster.account)
            host.launch()  # it loads its models while the server starts
            try:
                if cluster.postmaster() is None:
                    self._start(cluster, description, durable=wishes.durable, say=say)
                else:
                    description.save(self.home.description)
                # Also on a server that runs: an earlier `up` may have been killed before this.
                self._create_roles(description)
                host.wait_until_ready()
            except BaseException:
                if cluster.postmaster() is None:
                    host.stop()
                raise
            return not running

    def _create_roles(self, description: Description) -> None:
        try:
            connection = self.superuser()
        except psycopg.OperationalError:
            # There is no maintenance database yet, so there is no admin yet who could have prepared this one.
            with self.superuser("template1") as first:
                create_maintenance_database(first)
            connection = self.superuser()
        with connection:
            create_roles(connection, admin=description.admin, password=self._password())

    def _start(
        self, cluster: Cluster, description: Description, *, durable: bool, say: Callable[[str], None]
    ) -> None:
        description = self._free_port(description, say)
        description.save(self.home.description)
        if not self.home.data.exists():
            say(f"Creating a PostgreSQL {description.major} server")
            cluster.create()
        self._clear_sockets(cluster.account)
        self._configure(description, cluster.account, durable=durable)
        rotate(self.home.postgres_log)
        cluster.start(self.home.conf / "postgresql.conf", self.home.postgres_log)

    def down(self, *, delete: bool = False, say: Callable[[str], None] = lambda _: None) -> bool:
        """Stops the server and its model host. Returns False if neither ran.

        Args:
            delete: also removes the data and everything else of the instance, for good.
            say: told when another command has to be waited for.
        """
        with self._locked(say):
            cluster = self._cluster(self.description)
            host = HostControl(self.home, server_uid=cluster.account.uid)
            ran = cluster.postmaster() is not None or host.running()
            cluster.stop()
            host.stop()
            shutil.rmtree(self.home.runtime, ignore_errors=True)
            if delete:
                # All of it leaves at once under another name: half a deletion leaves no half instance.
                self.home.root.rename(
                    self.home.root.with_name(f".deleted-{self.name}-{secrets.token_hex(4)}")
                )
                self._remove_deleted()
            return ran

    def status(self) -> Status:
        """How the instance is now. Raises `InstanceNotFound`."""
        description = self.description
        cluster = self._cluster(description)
        pid = cluster.postmaster()
        host = HostControl(self.home, server_uid=cluster.account.uid).status()
        version = str(description.major)
        if pid is not None:
            with contextlib.suppress(psycopg.Error, InstanceNotRunning), self.superuser() as connection:
                row = connection.execute("SHOW server_version").fetchone()
                version = row[0] if row else version
        states = {(True, True): "running", (False, False): "stopped"}
        return Status(
            name=self.name,
            state=states.get((pid is not None, host is not None), "degraded"),
            host=HOST,
            port=description.port,
            socket_dir=str(self.home.postgres_sockets),
            postgres_version=version,
            postgres_pid=pid,
            host_pid=host["pid"] if host else None,
            admin=description.admin,
            location=description.location,
            sku=description.sku,
            profile=description.profile,
            models=host["models"] if host else [],
        )

    # Connections

    def dsn(self, dbname: str = "postgres", *, with_password: bool = False) -> str:
        """A libpq URI of the server admin, with a `passfile` unless the password itself is asked for."""
        description = self.description
        secret, query = "", ""
        if with_password:
            secret = ":" + quote(self._password(), safe="")
        else:
            query = "?" + urlencode({"passfile": str(self.home.passfile)}, quote_via=quote)
        user, database = quote(description.admin, safe=""), quote(dbname, safe="")
        return f"postgresql://{user}{secret}@{HOST}:{description.port}/{database}{query}"

    def connect(self, dbname: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connects as the server admin; `options` as psycopg's. Raises `InstanceNotRunning`."""
        return self._connect(self.dsn(dbname), **options)

    def superuser(self, dbname: str = MAINTENANCE) -> psycopg.Connection[Any]:
        """Connects as azuresu through the socket, in autocommit: for the twin itself, not for people."""
        description = self.description
        return self._connect(
            host=str(self.home.postgres_sockets),
            port=description.port,
            user=SUPERUSER,
            dbname=dbname,
            autocommit=True,
            application_name="azpg",
            options=SAFE_OPTIONS,
        )

    def _connect(self, conninfo: str = "", **options: Any) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(conninfo, **options)
        except psycopg.OperationalError:
            if not self._runs():
                raise self._not_running() from None
            raise

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's own programs, such as psql."""
        return str(self._cluster(self.description).installation.bin / name)

    # Server parameters

    @property
    def offer(self) -> Offer:
        """What this server offers, by its profile, location and SKU."""
        description = self.description
        return offer(description.profile, location=description.location, sku=description.sku)

    def parameters(self) -> list[Parameter]:
        """Every server parameter of the running server."""
        with self.superuser() as connection:
            return parameters.read(connection)

    def parameter(self, name: str) -> Parameter:
        """One server parameter. Raises `ParameterRefused` for a name there is not."""
        with self.superuser() as connection:
            return parameters.read(connection, name)[0]

    def set_parameter(self, name: str, value: str) -> Parameter:
        """Sets a server parameter for good and returns how it stands then. Raises `ParameterRefused`."""
        configured = self.home.conf / "postgresql.conf"
        with self._locked(), self.superuser() as connection:
            return parameters.change(
                connection,
                ParameterFile(self.home.parameters),
                self.home.conf / "parameters.conf",
                complaint=partial(self._cluster(self.description).complaint, configured),
                name=name,
                value=value,
                offer=self.offer,
            )

    # Parts

    @property
    def description(self) -> Description:
        """What the instance is. Raises `InstanceNotFound`."""
        try:
            return Description.load(self.home.description)
        except FileNotFoundError:
            others = self.home.home.instance_names()
            raise InstanceNotFound(
                f"there is no instance {self.name!r}.",
                detail=f"There are: {', '.join(others)}." if others else "",
                hint=f"`azpg up {self.name}` makes it.",
            ) from None

    @contextlib.contextmanager
    def _locked(self, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        def waiting() -> None:
            say(f"Waiting for another azpg command on {self.name!r}")

        self.home.home.create()
        with locked(self.home.home.root / "locks" / f"{self.name}.lock", waiting=waiting):
            self._remove_deleted()
            yield

    def _remove_deleted(self) -> None:
        """Removes what a deletion left, this one's or one that was killed."""
        for left in self.home.root.parent.glob(f".deleted-{self.name}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def _describe(self, wishes: Wishes) -> Description:
        """The description that `wishes` make of the instance. Raises `AzpgError` for what cannot be."""
        if self.home.description.exists():
            kept = self.description
            for name in ("major", "admin", "os_user"):
                wish, has = getattr(wishes, name), getattr(kept, name)
                if wish not in {None, has}:
                    raise InstanceError(
                        f"the instance {self.name!r} has {name} {has}; it cannot become {wish}.",
                        hint=f"Use another name, or `azpg down {self.name} --delete` first.",
                    )
        else:
            kept = Description(
                name=self.name,
                major=wishes.major or DEFAULT_MAJOR,
                port=0,
                fixed_port=False,
                admin=wishes.admin or DEFAULT_ADMIN,
                location=DEFAULT_LOCATION,
                sku=DEFAULT_SKU,
                profile=DEFAULT_PROFILE,
                os_user=server_account(wishes.os_user).name,
            )
            check_admin_name(kept.admin)
            if kept.major not in MAJORS:
                raise InstanceError(
                    f"PostgreSQL {kept.major} is not bundled.", hint=f"Use {' or '.join(map(str, MAJORS))}."
                )
        given = {name: getattr(wishes, name) for name in ("location", "sku", "profile", "port")}
        wanted = replace(kept, **{name: value for name, value in given.items() if value is not None})
        if wishes.port is not None:
            wanted = replace(wanted, fixed_port=True)
        wanted = replace(wanted, sku=Sku.parse(wanted.sku).name)
        offer(wanted.profile, location=wanted.location, sku=wanted.sku)
        if wanted.port != kept.port and self._runs():
            raise InstanceError(
                f"the instance {self.name!r} runs on port {kept.port}.",
                hint=f"`azpg down {self.name}` first.",
            )
        return wanted

    def _free_port(self, description: Description, say: Callable[[str], None]) -> Description:
        if description.port and ports.is_free(description.port):
            return description
        if description.fixed_port:
            raise InstanceError(
                f"port {description.port} of {HOST} is taken by another program.",
                hint="Name another with --port.",
            )
        home = self.home.home
        taken = {
            Instance(name, home=home).description.port for name in home.instance_names() if name != self.name
        }
        port = ports.choose(taken)
        if description.port:
            say(f"Port {description.port} is taken by another program; using {port}")
        return replace(description, port=port)

    def _make_folders(self, account: Account) -> None:
        home = self.home
        mode = 0o711 if account.other else 0o700
        home.root.mkdir(mode=mode, parents=True, exist_ok=True)
        home.root.parent.chmod(mode)
        home.models.mkdir(mode=0o700, exist_ok=True)
        home.create_runtime()
        account.check_reachable(home.root)

    def _clear_sockets(self, account: Account) -> None:
        """Makes the folder of PostgreSQL's socket anew.

        The lock file of a killed server names a process that may have become any other.
        """
        folder = self.home.postgres_sockets
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        folder.chmod(0o711 if account.other else 0o700)
        account.own(folder)

    def _configure(self, description: Description, account: Account, *, durable: bool) -> None:
        users = dict.fromkeys([account.name, pwd.getpwuid(os.geteuid()).pw_name])
        configuration.write(
            self.home.conf,
            major=description.major,
            data=self.home.data,
            port=description.port,
            sockets=self.home.postgres_sockets,
            host_socket=self.home.host_socket,
            host_uid=os.geteuid(),
            instance=self.name,
            superusers=list(users),
            parameters=ParameterFile(self.home.parameters).load(),
            durable=durable,
        )

    def _password(self) -> str:
        """The admin's password, made at the first call; the passfile follows the port."""
        description = self.description
        passfile = self.home.passfile
        kept = passfile.read_text().strip().split(":") if passfile.exists() else []
        password = kept[4] if len(kept) == 5 else secrets.token_urlsafe(_PASSWORD_BYTES)
        line = f"{HOST}:{description.port}:*:{description.admin}:{password}\n"
        if kept != line.strip().split(":"):
            write_atomically(passfile, line, mode=0o600)
        return password

    def _cluster(self, description: Description) -> Cluster:
        account = server_account(description.os_user)
        installation = prepare(self.home.home, description.major, private=account.other)
        return Cluster(self.home.data, installation, account)

    def _runs(self) -> bool:
        return self._cluster(self.description).postmaster() is not None

    def _not_running(self) -> InstanceNotRunning:
        return InstanceNotRunning(
            f"the instance {self.name!r} does not run.", hint=f"`azpg up {self.name}` starts it."
        )
