"""Where the twin keeps things: AZPG_HOME and the short runtime folders that hold sockets.

::

    AZPG_HOME/
      models/                 the model store, shared by all instances
      ca/                     the certificate authority of all instances
      arm/                    the ARM twin
      server/KEY/             PostgreSQL with our extensions, as the instances run it
      instances/NAME/
        instance.json         what it is: port, major, admin, location, SKU
        parameters.json       server parameters that were set
        passfile              the admin's password in libpq's form, 0600
        passfile.socket       the same for the Unix socket
        resource              the id of the Azure resource that the ARM twin made it for
        server                a link to what it runs, in ../../server
        conf/                 the configuration PostgreSQL is started with
        data/                 PGDATA
        models/               files that `model_register` may name by path
        host/                 the model host's registry and settings
        tls/                  the TLS front's key and certificate
        postgres.log, host.log, tls.log
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from azpg.errors import UsageError
from azpg_runtime.errors import InstanceError
from azpg_runtime.files import make_folder

DEFAULT_INSTANCE = "default"
_INSTANCE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SOCKET_PATH_LIMIT = 107
_HOME_PATH_LIMIT = 800
"""Bytes: PostgreSQL keeps paths in 1,024, and its own part of them is shorter than 200."""
_IN_QUOTES = re.compile(r'["$`\\]')
"""What a shell interprets even inside double quotes, into which initdb and pg_ctl put paths."""


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that everything lives under.

    Raises `UsageError` for a path in which PostgreSQL cannot run.
    """

    root: Path

    def __post_init__(self) -> None:
        path = str(self.root)
        if not self.root.is_absolute():
            problem = "it is not absolute"
        elif any("\ud800" <= character <= "\udfff" for character in path):
            problem = "it is not UTF-8"
        elif any(character < " " or character == "\x7f" for character in path):
            problem = "it has control characters, such as a line break"
        elif found := _IN_QUOTES.search(path):
            problem = f"it has the character {found[0]}, which shells interpret"
        elif len(path.encode()) > _HOME_PATH_LIMIT:
            problem = f"it is longer than {_HOME_PATH_LIMIT} bytes"
        else:
            return
        shown = path if len(path) <= 100 else f"{path[:100]}…"
        raise UsageError(f"AZPG_HOME cannot be {shown!r}: {problem}. Set AZPG_HOME to another folder.")

    @classmethod
    def from_environment(cls) -> Home:
        """``AZPG_HOME`` or its default: /var/lib/azpg for root, else a folder of the user's own.

        A path that is not absolute begins at the current folder, an empty one counts as none.

        Raises `UsageError` for a path that cannot be one, and `InstanceError` as `check`.
        """
        named = os.environ.get("AZPG_HOME")
        if named:
            root = _absolute(named)
        elif os.geteuid() == 0:
            root = Path("/var/lib/azpg")
        else:
            base = Path(os.environ.get("XDG_DATA_HOME", ""))  # one that is not absolute is to be ignored
            root = (base if base.is_absolute() else _users_home() / ".local" / "share") / "azpg"
        home = cls(root)
        home.check()
        return home

    def check(self) -> None:
        """Raises `InstanceError` for a folder that others own or may write: its programs would run as us."""
        try:
            found = self.root.stat()
        except OSError:  # there is none yet, or `create` says what is wrong with it
            return
        uid, mode = os.geteuid(), stat.S_IMODE(found.st_mode)
        if found.st_uid != uid:
            owner = _name_of_user(found.st_uid)
            problem = (
                f"the folder belongs to {owner}, who could change what azpg runs as {_name_of_user(uid)}"
            )
            way = "Set AZPG_HOME to a folder of your own"
        elif mode & 0o002 or (mode & 0o020 and not _is_private(found.st_gid)):
            problem = f"others may write in the folder (mode {mode:04o}), and could change what azpg runs"
            way = f"Forbid that with `chmod go-w {shlex.quote(str(self.root))}`"
        else:
            return
        raise InstanceError(f"AZPG_HOME cannot be {self.root}: {problem}.", hint=f"{way}.")

    @property
    def models(self) -> Path:
        """The model store."""
        return self.root / "models"

    @property
    def server(self) -> Path:
        """Prepared PostgreSQL installations."""
        return self.root / "server"

    @property
    def ca(self) -> Path:
        """The certificate authority."""
        return self.root / "ca"

    @property
    def arm(self) -> Path:
        """The ARM twin's own files."""
        return self.root / "arm"

    def create(self) -> None:
        """Makes the root. As root it can be traversed by the user that PostgreSQL runs as.

        Raises `InstanceError` if it cannot be made, and as `check`.
        """
        self.check()
        try:
            make_folder(self.root, 0o711 if os.geteuid() == 0 else 0o700)
        except OSError as error:
            why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
            raise InstanceError(
                f"could not make the folder {self.root}: {why}.",
                hint="Set AZPG_HOME to a folder that you can write to.",
            ) from None

    def instance(self, name: str) -> InstanceHome:
        """The folders of one instance. Raises `UsageError` for a name that Azure would not take."""
        if not _INSTANCE_NAME.fullmatch(name):
            raise UsageError(
                f"instance name {name!r} is not allowed: use 1 to 63 lower-case letters, digits and hyphens, "
                "not a hyphen first or last"
            )
        return InstanceHome(name, self.root / "instances" / name, self)

    def instance_names(self) -> list[str]:
        """Every instance that was created, sorted."""
        folder = self.root / "instances"
        if not folder.is_dir():
            return []
        return sorted(
            entry.name
            for entry in folder.iterdir()
            if _INSTANCE_NAME.fullmatch(entry.name) and (entry / "instance.json").is_file()
        )


@dataclass(frozen=True, slots=True)
class InstanceHome:
    """The folders and files of one instance."""

    name: str
    root: Path
    home: Home

    @property
    def description(self) -> Path:
        """What the instance is."""
        return self.root / "instance.json"

    @property
    def parameters(self) -> Path:
        """Server parameters that were set."""
        return self.root / "parameters.json"

    @property
    def passfile(self) -> Path:
        """The admin's password in libpq's form."""
        return self.root / "passfile"

    @property
    def socket_passfile(self) -> Path:
        """The same for connections through the Unix socket."""
        return self.root / "passfile.socket"

    @property
    def resource(self) -> Path:
        """The id of the Azure resource that the ARM twin made this instance for; absent for all others."""
        return self.root / "resource"

    @property
    def server(self) -> Path:
        """A link to the prepared PostgreSQL that the server was last started from."""
        return self.root / "server"

    @property
    def conf(self) -> Path:
        """PostgreSQL's configuration."""
        return self.root / "conf"

    @property
    def access(self) -> Path:
        """Who may log in through the TLS front, and how; the user that it runs as can read it."""
        return self.conf / "access.json"

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.root / "data"

    @property
    def models(self) -> Path:
        """Files that `model_register` may name by path."""
        return self.root / "models"

    @property
    def host(self) -> Path:
        """The model host's own files."""
        return self.root / "host"

    @property
    def registry(self) -> Path:
        """Which model each URI stands for. The host writes it, perhaps as a user of its own."""
        return self.host / "registry.json"

    @property
    def own_store(self) -> Path:
        """Models that are registered by path, where the host may not write the store of all instances."""
        return self.host / "store"

    @property
    def tls(self) -> Path:
        """The TLS front's key and certificate."""
        return self.root / "tls"

    @property
    def postgres_log(self) -> Path:
        """What PostgreSQL says."""
        return self.root / "postgres.log"

    @property
    def host_log(self) -> Path:
        """What the model host and its supervisor say."""
        return self.root / "host.log"

    @property
    def tls_log(self) -> Path:
        """What the TLS front and its supervisor say."""
        return self.root / "tls.log"

    @property
    def key(self) -> str:
        """Ten digits that stand for this instance of this home, on this machine."""
        return hashlib.sha256(f"{self.home.root.resolve()}\0{self.name}".encode()).hexdigest()[:10]

    @property
    def os_user(self) -> str:
        """The user of this machine that PostgreSQL runs as where root runs azpg."""
        return f"azpg-{self.key}"

    @property
    def runtime(self) -> Path:
        """The folder that holds this instance's sockets; short, because a socket's path must be."""
        return _runtime_root() / self.key

    @property
    def host_socket(self) -> Path:
        """The model host's socket."""
        return self.runtime / "host.sock"

    @property
    def postgres_sockets(self) -> Path:
        """The folder of PostgreSQL's own socket."""
        return self.runtime / "pg"

    def create_runtime(self) -> None:
        """Makes the runtime folder, and refuses one that belongs to somebody else."""
        for folder in (_runtime_root(), self.runtime):
            mode = 0o711 if os.geteuid() == 0 else 0o700
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise InstanceError(
                    f"{folder} belongs to somebody else.",
                    hint="Set XDG_RUNTIME_DIR to a folder of your own that has a short path, such as "
                    "`mkdir -m 700 ~/.run && export XDG_RUNTIME_DIR=~/.run`.",
                )
            folder.chmod(mode)
        longest = self.postgres_sockets / ".s.PGSQL.65535"
        if len(os.fsencode(longest)) > _SOCKET_PATH_LIMIT:
            raise InstanceError(
                f"the socket path {longest} is over {_SOCKET_PATH_LIMIT} bytes.",
                hint="Set XDG_RUNTIME_DIR to a shorter folder.",
            )


def _name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def _is_private(gid: int) -> bool:
    """Whether a group is that of this user alone, as many systems give each user one."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _absolute(named: str) -> Path:
    """AZPG_HOME as it was set. Raises `UsageError` for one that cannot be resolved."""
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        problem = "there is no such user, or it has no home folder"
    except OSError:
        problem = "it is not absolute, and the current folder no longer exists"
    raise UsageError(f"AZPG_HOME cannot be {named!r}: {problem}. Set it to the path of a folder.")


def _users_home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError(
            f"user id {os.geteuid()} has no home folder. Set AZPG_HOME to a folder that it can write to."
        ) from None


def _runtime_root() -> Path:
    uid = os.geteuid()
    if uid == 0:
        return Path("/run/azpg")
    named = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if named.is_absolute() and named.is_dir() and os.access(named, os.W_OK):
        return named / "azpg"
    return Path("/tmp") / f"azpg-{uid}"  # noqa: S108 - ownership and mode are checked by create_runtime
