"""One local Flexible Server: PostgreSQL, its model host, its TLS front, and what a person can do with them.

::

    with Instance("default") as twin, twin.connect() as connection:
        connection.execute("SELECT 1")
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any

import psycopg

from azpg.errors import AzpgError
from azpg.extensions import join, normalise
from azpg.profiles import LOCAL_AI, Offer
from azpg.suggestions import did_you_mean
from azpg_runtime.errors import HostError, InstanceError, InstanceNotFound, InstanceNotRunning
from azpg_runtime.files import full_disk, make_folder
from azpg_runtime.home import DEFAULT_INSTANCE, Home
from azpg_runtime.host.client import HostClient
from azpg_runtime.host.code_version import code_version
from azpg_runtime.host.control import HostControl, HostUser
from azpg_runtime.postgres import configuration, preload
from azpg_runtime.postgres.account import (
    SHARED_OS_USER,
    Account,
    host_os_user,
    remove_users,
    server_account,
)
from azpg_runtime.postgres.bundled import find, psql
from azpg_runtime.postgres.cluster import Cluster
from azpg_runtime.postgres.collations import create_collations
from azpg_runtime.postgres.connections import HOST, Connections
from azpg_runtime.postgres.description import Description, Wishes
from azpg_runtime.postgres.entra.administration import Entra
from azpg_runtime.postgres.front.control import FrontControl
from azpg_runtime.postgres.installation import Installation, prepare, prepared
from azpg_runtime.postgres.parameters import EXTENSIONS, Parameter, ServerParameters, write_included
from azpg_runtime.postgres.roles import MAINTENANCE, create_maintenance_database, create_roles
from azpg_runtime.postgres.status import Status
from azpg_runtime.system import ports
from azpg_runtime.system.locks import locked
from azpg_runtime.system.logs import rotate

__all__ = ["Instance", "Status", "Wishes"]

Say = Callable[[str], None]


DEPLOYED_URI, DEPLOYED_MODEL = "multilingual-e5-small:v1", "multilingual-e5-small"
"""What Azure deploys to a server on which azure_local_ai is allow-listed."""


_MEGABYTE = 1_000_000


def _silent(_: str) -> None:
    pass


def _of_another_version(host: dict[str, Any]) -> bool:
    """Whether a model host runs other code than is installed here; the first ones did not say which."""
    return host.get("azpg") != code_version()


class Instance:
    """A local server by name. Making the object touches nothing.

    Args:
        name: lower-case letters, digits and hyphens.
        home: where everything lives; None stands for AZPG_HOME or its default.
    """

    def __init__(self, name: str = DEFAULT_INSTANCE, *, home: Home | None = None) -> None:
        self.home = (home or Home.from_environment()).instance(name)
        self.name = name
        self._started: list[bool] = []

    def __enter__(self) -> Instance:
        """Starts what does not run yet, as `up` does."""
        self._started.append(self.up())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the server, unless it ran before the block; its data stay."""
        if self._started.pop():
            self.down()

    # Life

    def up(self, wishes: Wishes | None = None, *, say: Say = _silent) -> bool:
        """Starts what does not run yet; a new instance is made first. Returns False if all of it ran already.

        Args:
            wishes: see `Wishes`.
            say: told what is being done, a sentence at a time.
        """
        wishes = wishes or Wishes()
        with self._locked(say), self._full_disk_explained():
            description = self._describe(wishes)
            if not self.home.description.exists():
                # Refused before anything is made, which no command would show.
                for which in ("port", "tls_port"):
                    if getattr(description, f"fixed_{which}"):
                        self._free_port(description, which, say)
            description = self._separated(description, wishes, say=say)
            account = server_account(description.os_user, create=True)
            cluster = self._prepared(description, account, say=say)
            host, front = self._host(cluster, description), self._front(cluster)
            had_host = host.running()
            running = cluster.postmaster() is not None and had_host and front.running()
            self._make_folders(cluster)
            if wishes.admin_password is not None:
                self._connections(description).keep_password(wishes.admin_password)
            try:
                self.home.create_runtime()
                user = self._host_user(account)
                if user is not None and cluster.postmaster() is not None and not self._expects(user):
                    user = None  # until `restart`
                host.launch(user, say=say)  # it loads its models while the server starts
                if cluster.postmaster() is None:
                    self._start(cluster, description, durable=wishes.durable, say=say)
                else:
                    self._open_front(front, description, say=say)
                    # An earlier `up` may have been killed before this.
                    self._create_roles(description)
                    parameters = self._parameters(description, cluster)
                    if not parameters.known:
                        parameters.note_start()
                try:
                    host.wait_until_ready()
                except HostError:
                    if not had_host:
                        raise
                    # It hangs, or its socket was removed; it has been stopped.
                    say("The model host does not answer; starting another")
                    running = False
                    host.launch(user, say=say)
                    host.wait_until_ready()
                front.wait_until_ready(self.description.tls_port)
                self._deploy(self._parameters(self.description, cluster))
            except BaseException:
                if cluster.postmaster() is None:
                    host.stop()
                    front.stop()
                    shutil.rmtree(self.home.runtime, ignore_errors=True)
                raise
            return not running

    def restart(self, *, say: Say = _silent) -> None:
        """Stops the server and starts it again, so that static parameters take effect.

        The model host stays, unless another version of azpg started it, or a user of this machine shared with
        other servers. Raises `InstanceNotRunning`.
        """
        with self._locked(say), self._full_disk_explained():
            description = self.description
            running = self._cluster(description)
            if running.postmaster() is None:
                raise self._not_running()
            cluster = self._newest(
                description, running.account, say=say
            )  # which can fail: nothing is stopped yet
            status = self._host(cluster, description).status()
            another = status is not None and _of_another_version(status)
            running.stop()
            separated = self._separated(description, Wishes(), say=say)
            if separated != description:
                description, another = separated, True
                cluster = replace(cluster, account=server_account(description.os_user))
            host = self._host(cluster, description)
            if another:
                host.stop()
                host.launch(self._host_user(cluster.account), say=say)
            self._start(cluster, description, durable=description.durable, say=say)
            self._front(cluster).wait_until_ready(self.description.tls_port)
            if another:
                host.wait_until_ready()

    def down(self, *, delete: bool = False, say: Say = _silent) -> bool:
        """Stops the server, its model host and its TLS front. Returns False if none of them ran.

        Args:
            delete: also removes the data and everything else of the instance, for good.
            say: told when another command has to be waited for.
        """
        with self._locked(say):
            description = self.description
            cluster = self._cluster(description)
            host, front = self._host(cluster), self._front(cluster)
            ran = cluster.postmaster() is not None or host.running() or front.running()
            cluster.stop()
            host.stop()
            front.stop()
            shutil.rmtree(self.home.runtime, ignore_errors=True)
            if delete:
                # All of it leaves at once under another name: half a deletion leaves no half instance.
                self.home.root.rename(
                    self.home.root.with_name(f".deleted-{self.name}-{secrets.token_hex(4)}")
                )
                self._remove_deleted()
                remove_users(description.os_user)
            return ran

    def discard(self) -> None:
        """Removes the instance for good, also one of which an earlier `up` was killed in the middle."""
        if self.home.description.exists():
            self.down(delete=True)
            return
        with self._locked():  # no server has been started yet, but perhaps a model host
            HostControl(self.home, server_uid=os.geteuid()).stop()
            shutil.rmtree(self.home.runtime, ignore_errors=True)
            shutil.rmtree(self.home.root, ignore_errors=True)
            remove_users(self.home.os_user)

    def running(self) -> bool:
        """Whether PostgreSQL runs; `status` says more and takes longer. Raises `InstanceNotFound`."""
        return self._cluster(self.description).postmaster() is not None

    def status(self) -> Status:
        """How the instance is now. Raises `InstanceNotFound`."""
        description = self.description
        cluster = self._cluster(description)
        pid = cluster.postmaster()
        control = self._host(cluster)
        host = control.status()
        host_state = "running" if host else "silent" if control.running() else "stopped"
        version, parameters = str(description.major), self._parameters(description, cluster)
        if pid is not None:
            with contextlib.suppress(psycopg.Error), self._connections(description).superuser() as connection:
                row = connection.execute("SHOW server_version").fetchone()
                version = row[0] if row else version
        front = self._front(cluster).running()
        runs = {pid is not None, host is not None, front}
        return Status(
            name=self.name,
            state="degraded" if len(runs) > 1 else "running" if runs == {True} else "stopped",
            host=HOST,
            port=description.port,
            tls_port=description.tls_port or None,
            tls_state="running" if front else "stopped",
            socket_dir=str(self.home.postgres_sockets),
            postgres_version=version,
            postgres_pid=pid,
            host_pid=host["pid"] if host else None,
            host_state=host_state,
            host_as_root=self._as_root(cluster.account, host),
            admin=description.admin,
            location=description.location,
            sku=description.sku,
            created_newly=description.created_newly,
            profile=description.profile,
            not_loaded=parameters.preload().missing,
            missing_extensions=parameters.missing_extensions(),
            pending_restart=parameters.pending() if pid is not None and parameters.known else [],
            outdated=self._outdated(description, cluster, host) if pid is not None else [],
            models=host["models"] if host else [],
            deployments=host["deployments"] if host else [],
        )

    def _as_root(self, account: Account, host: dict[str, Any] | None) -> str:
        """Why a model host that answers has stayed root; '' if it has not, or there is nobody else to be."""
        if host is None or host["uid"] != 0 or not account.other:
            return ""
        name = host_os_user(account.name)
        with contextlib.suppress(InstanceError, FileNotFoundError):  # no such user, or no configuration yet
            own = server_account(name)
            if not self._expects(HostUser(own.name, own.uid, own.gid)):
                return f"another azpg started it; `azpg restart` gives it to {name}"
        return f"{name} cannot read Python or the models"

    def _outdated(self, description: Description, cluster: Cluster, host: dict[str, Any] | None) -> list[str]:
        """The parts that run as another version of azpg started them, and that `restart` starts anew."""
        parts = []
        # Only what is bundled changes with azpg; and not without it being installed wholly.
        with contextlib.suppress(AzpgError):
            if not description.pg_config:
                now = prepared(self.home.home, description.original(self.home.home))
                parts += ["PostgreSQL"] if cluster.installation.root.name != now.name else []
        return parts + (["model host"] if host and _of_another_version(host) else [])

    # Connections

    def dsn(
        self, dbname: str = "postgres", *, with_password: bool = False, tls: bool = False, tcp: bool = False
    ) -> str:
        """A libpq URI of the server admin, with a `passfile` unless the password itself is asked for.

        It leads to the Unix socket; with `tcp` to the port, on which anybody could listen while the server
        is down, and with `tls` to the TLS front. Raises `InstanceError` where there has been no such front
        yet, or there is no password.
        """
        description = self.description
        if tls and not description.tls_port:
            raise InstanceError(
                f"the instance {self.name!r} has no port for TLS yet.",
                hint=f"`azpg up {self.name}` gives it one.",
            )
        return self._connections(description).dsn(dbname, with_password=with_password, tls=tls, tcp=tcp)

    def connect(self, dbname: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connects as the server admin; `options` as psycopg's. Raises `InstanceNotRunning`."""
        connections = self._connections(self.description)
        with self._explained():
            return connections.admin(dbname, **options)

    def superuser(self, dbname: str = MAINTENANCE) -> psycopg.Connection[Any]:
        """Connects as azuresu through the socket, in autocommit: for the twin itself, not for people."""
        connections = self._connections(self.description)
        with self._explained():
            return connections.superuser(dbname)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """A connection that fails because the server does not run says so."""
        try:
            yield
        except psycopg.OperationalError:
            if self._cluster(self.description).postmaster() is None:
                raise self._not_running() from None
            raise

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's own programs, such as psql."""
        return str(self._cluster(self.description).installation.bin / name)

    def psql(self) -> str:
        """The path of a psql for people: the server's own, or another that has line editing."""
        description = self.description
        if description.pg_config or find(description.major, description.build or None).line_editing:
            return self.program("psql")
        return str(psql())

    # Server parameters

    @property
    def offer(self) -> Offer:
        """What this server offers, by its profile, location and SKU."""
        return self.description.offer

    def parameters(self) -> list[Parameter]:
        """Every server parameter, by name."""
        return self._server_parameters().all()

    def parameter(self, name: str) -> Parameter:
        """One server parameter. Raises `ParameterRefused` for a name there is not."""
        return self._server_parameters().get(name)

    def set_parameter(self, name: str, value: str) -> Parameter:
        """Sets a server parameter for good and returns how it stands then. Raises `ParameterRefused`."""
        with self._locked():
            parameters = self._server_parameters()
            found = parameters.set(name, value)
            self._deploy(parameters)
            return found

    def reset_parameter(self, name: str) -> Parameter:
        """Returns a server parameter to its default. Raises `ParameterRefused`."""
        with self._locked():
            return self._server_parameters().reset(name)

    def missing_libraries(self, names: Iterable[str]) -> dict[str, str]:
        """Which of these libraries this PostgreSQL could not preload, and why."""
        installation = self._cluster(self.description).installation
        return preload.divide(join(names), installation).missing

    def _deploy(self, parameters: ServerParameters) -> None:
        """Deploys the model that comes with azure_local_ai; without a model host, the next `up` does."""
        if LOCAL_AI in normalise(parameters.values().get(EXTENSIONS, "")):
            with contextlib.suppress(HostError), HostClient(self.home.host_socket) as client:
                client.deploy(DEPLOYED_URI, DEPLOYED_MODEL)

    def _server_parameters(self) -> ServerParameters:
        description = self.description
        return self._parameters(description, self._cluster(description))

    # Microsoft Entra authentication

    @property
    def entra(self) -> Entra:
        """Who logs in with a token instead of a password."""

        def write_rules(principals: list[str]) -> None:
            self._write_rules(server_account(self.description.os_user), principals)

        return Entra(self.home.access, locked=self._locked, connect=self.superuser, write_rules=write_rules)

    # Parts

    @property
    def description(self) -> Description:
        """What the instance is. Raises `InstanceNotFound`."""
        try:
            return Description.load(self.home.description)
        except FileNotFoundError:
            others = self.home.home.instance_names()
            meant = did_you_mean(self.name, others)
            raise InstanceNotFound(
                f"there is no instance {self.name!r}.",
                detail=meant or (f"There are: {', '.join(others)}." if others else ""),
                hint=f"`azpg up {self.name}` makes it.",
            ) from None

    def _cluster(self, description: Description) -> Cluster:
        """PostgreSQL as it was last started, whatever has been installed since."""
        account = server_account(description.os_user)
        try:
            installation = Installation.open(self.home.server.resolve())
        except InstanceError:
            _ = self.description  # an instance that has been deleted meanwhile is not damaged, but gone
            raise
        return Cluster(self.home.data, installation, account)

    def _host(self, cluster: Cluster, description: Description | None = None) -> HostControl:
        limit = description.model_memory * _MEGABYTE if description is not None else 0
        return self._host_control(cluster.account, memory_limit=limit or None)

    def _host_control(self, account: Account, *, memory_limit: int | None = None) -> HostControl:
        return HostControl(self.home, server_uid=account.uid, memory_limit=memory_limit)

    def _host_user(self, account: Account) -> HostUser | None:
        """Whom the model host becomes: a user of its own, where the server has one, else the server's."""
        if not account.other:
            return None
        account = server_account(host_os_user(account.name), create=True)
        return HostUser(account.name, account.uid, account.gid)

    def _expects(self, user: HostUser) -> bool:
        """Whether PostgreSQL, as it was last started, takes this user for its model host."""
        written = (self.home.conf / "postgresql.conf").read_text()
        return configuration.render({configuration.HOST_UID: str(user.uid)}) in written

    def _front(self, cluster: Cluster) -> FrontControl:
        return FrontControl(self.home, cluster.account)

    def _connections(self, description: Description) -> Connections:
        return Connections(self.home, description)

    def _parameters(self, description: Description, cluster: Cluster) -> ServerParameters:
        return ServerParameters(
            self.home, cluster, description.offer, self._connections(description).superuser
        )

    @contextlib.contextmanager
    def _locked(self, say: Say = _silent) -> Iterator[None]:
        def waiting() -> None:
            say(f"Waiting for another azpg command on {self.name!r}")

        self.home.home.create()
        with locked(self.home.home.root / "locks" / f"{self.name}.lock", waiting=waiting):
            self._remove_deleted()
            yield

    @contextlib.contextmanager
    def _full_disk_explained(self) -> Iterator[None]:
        """What fails because the disk is full says so, whatever part of it failed."""
        try:
            yield
        except (OSError, InstanceError, HostError) as error:
            failure = error if isinstance(error, OSError) else str(error)
            full = full_disk(failure, self.home.home.root)
            if full is None:
                raise
            raise full from None

    def _remove_deleted(self) -> None:
        """Removes what a deletion left, this one's or one that was killed."""
        for left in self.home.root.parent.glob(f".deleted-{self.name}-*"):
            shutil.rmtree(left, ignore_errors=True)

    # Steps of `up`

    def _separated(self, description: Description, wishes: Wishes, *, say: Say) -> Description:
        """Gives an instance that shares its user with others, as before each had its own, one of its own.

        Not while it runs; and where no user can be made it goes on as it was.
        """
        if os.geteuid() != 0 or description.os_user != SHARED_OS_USER or wishes.os_user is not None:
            return description
        with contextlib.suppress(InstanceError):  # the shared user is gone, or the copy of PostgreSQL
            if self._cluster(description).postmaster() is not None:
                return description
        try:
            own = server_account(self.home.os_user, create=True)
        except InstanceError as error:
            say(f"It still runs as {SHARED_OS_USER}, as other servers may: {error.message}")
            return description
        self._host_control(own).stop()  # they know the other user
        FrontControl(self.home, own).stop()
        return replace(description, os_user=own.name)

    def _describe(self, wishes: Wishes) -> Description:
        """The description that `wishes` make of the instance. Raises `AzpgError` for what cannot be."""
        if not self.home.description.exists():
            return Description.new(self.name, wishes, os_user=self.home.os_user)
        kept = self.description
        wanted = kept.changed(wishes)
        for what, port in (("port", wanted.port), ("tls_port", wanted.tls_port)):
            has = getattr(kept, what)
            if has not in {0, port} and self._cluster(kept).postmaster() is not None:
                raise InstanceError(
                    f"the instance {self.name!r} runs on {what} {has}.",
                    hint=f"`azpg down {self.name}` first.",
                )
        return wanted

    def _prepared(self, description: Description, account: Account, *, say: Say) -> Cluster:
        """PostgreSQL as it is to be started, which is a running one's own."""
        if self.home.server.is_symlink():
            with contextlib.suppress(
                InstanceError
            ):  # the copy may have been removed; not under a running one
                cluster = self._cluster(description)
                if cluster.postmaster() is not None:
                    return cluster
        try:
            return self._newest(description, account, say=say)
        except BaseException:
            if not self.home.root.exists():  # there is nothing with which its user would go
                remove_users(account.name)
            raise

    def _newest(self, description: Description, account: Account, *, say: Say) -> Cluster:
        """PostgreSQL as it is installed by now, whatever runs."""
        original = description.original(self.home.home)
        installation = prepare(self.home.home, original, private=account.other)
        if not installation.has_extension("vector"):
            say(f"This PostgreSQL {description.major} has no pgvector; install it beside that server")
        return Cluster(self.home.data, installation, account)

    def _use(self, installation: Installation) -> None:
        """Remembers the copy that the server is started from."""
        link = self.home.server.with_name(f".server-{secrets.token_hex(4)}")
        link.symlink_to(installation.root)
        link.replace(self.home.server)

    def _make_folders(self, cluster: Cluster) -> None:
        home, mode = self.home, 0o711 if cluster.account.other else 0o700
        make_folder(home.root, mode)
        make_folder(home.models, 0o700)
        try:
            cluster.account.check_runs(cluster.installation.bin / "postgres")
        except InstanceError:
            if not home.description.exists():
                # Only what was made here: there may be data that have lost their description.
                with contextlib.suppress(OSError):
                    home.models.rmdir()
                    home.root.rmdir()
                remove_users(cluster.account.name)
            raise

    def _start(self, cluster: Cluster, description: Description, *, durable: bool, say: Say) -> None:
        front = self._front(cluster)
        front.stop()  # nobody is connected through it, and the ports may change
        description = replace(self._free_port(description, "port", say), durable=durable)
        self._use(cluster.installation)
        self._open_front(front, description, say=say)
        if not self.home.data.exists():
            say(f"Creating a PostgreSQL {description.major} server")
            cluster.create(durable=durable)
        cluster.account.own_tree(self.home.data)  # one of before, or whose user was made anew
        self._clear_sockets(cluster.account)
        parameters = self._parameters(description, cluster)
        self._configure(description, cluster.account, parameters)
        rotate(self.home.postgres_log)
        try:
            cluster.start(self.home.conf / "postgresql.conf", self.home.postgres_log)
        except InstanceError as error:
            raise self._suspected(error, parameters.suspects()) from None
        self._create_roles(description)
        parameters.note_start()

    def _suspected(self, error: InstanceError, suspects: dict[str, str]) -> InstanceError:
        """A failed start, with the parameters that were set since the last good one."""
        if not suspects:
            return error
        named = ", ".join(f"{name} = {value}" for name, value in suspects.items())
        suffix = "" if self.name == DEFAULT_INSTANCE else f" --local {self.name}"
        undo = " and ".join(f"`azpg server parameter reset {name}{suffix}`" for name in suspects)
        return InstanceError(
            error.message,
            detail=f"{error.detail.rstrip('.')}. Set since it last started: {named}.",
            hint=f"Undo that with {undo}.",
        )

    def _create_roles(self, description: Description) -> None:
        connections = self._connections(description)
        try:
            connection = connections.superuser()
        except psycopg.OperationalError:
            # There is no maintenance database yet, so there is no admin yet who could have prepared this one.
            with connections.superuser("template1") as first:
                create_maintenance_database(first)
            connection = connections.superuser()
        password = connections.keep_password()
        with connection:
            create_roles(connection, admin=description.admin, password=password)
            self.entra.complete(connection)
        create_collations(connections.superuser)

    def _open_front(self, front: FrontControl, description: Description, *, say: Say) -> None:
        """Starts the TLS front unless it runs, and saves the description with its port."""
        if not front.running():
            description = self._free_port(description, "tls_port", say)
        description.save(self.home.description)
        front.launch(port=description.tls_port, server_port=description.port)

    def _free_port(self, description: Description, which: str, say: Say) -> Description:
        """`description` with a port that is free, if possible the one it has; `which` is port or tls_port."""
        port, fixed = getattr(description, which), getattr(description, f"fixed_{which}")
        other_port = description.tls_port if which == "port" else description.port
        complaint = ports.complaint(port) if port else ""
        if port == other_port and not fixed:
            complaint = "is the other one"
        if port and not complaint:
            return description
        if fixed:
            raise InstanceError(
                f"port {port} of {HOST} {complaint}.", hint=f"Name another with --{which.replace('_', '-')}."
            )
        chosen = ports.choose({other_port, *self._ports_of_others()})
        if port:
            say(f"Port {port} {complaint}; using {chosen}")
        return replace(description, port=chosen) if which == "port" else replace(description, tls_port=chosen)

    def _ports_of_others(self) -> Iterator[int]:
        """The ports that other instances keep, also while they are down."""
        home = self.home.home
        for name in home.instance_names():
            with contextlib.suppress(InstanceError):  # a damaged one must not keep this one from starting
                if name != self.name:
                    other = Instance(name, home=home).description
                    yield from (other.port, other.tls_port)

    def _clear_sockets(self, account: Account) -> None:
        """Makes the folder of PostgreSQL's socket anew.

        The lock file of a killed server names a process that may have become any other.
        """
        folder = self.home.postgres_sockets
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder, 0o711 if account.other else 0o700)
        account.own(folder)

    def _configure(self, description: Description, account: Account, parameters: ServerParameters) -> None:
        principals = [principal.name for principal in self.entra.administrators()]
        self._write_rules(account, principals)
        user = self._host_user(account)
        configuration.write(
            self.home.conf,
            major=description.major,
            data=self.home.data,
            port=description.port,
            sockets=self.home.postgres_sockets,
            host_socket=self.home.host_socket,
            host_uid=os.geteuid() if user is None else user.uid,
            instance=self.name,
            preload=parameters.preload().loaded,
            durable=description.durable,
        )
        write_included(self.home.conf, parameters.values())

    def _write_rules(self, account: Account, principals: list[str]) -> None:
        # Not the server's own user, if it is another: what runs as that must not become azuresu.
        superuser = pwd.getpwuid(os.geteuid()).pw_name
        configuration.write_rules(
            self.home.conf, superusers=[superuser], front=account.name, principals=principals
        )

    def _not_running(self) -> InstanceNotRunning:
        return InstanceNotRunning(
            f"the instance {self.name!r} does not run.", hint=f"`azpg up {self.name}` starts it."
        )
