"""The configuration files that PostgreSQL is started with, rendered from what the instance is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from azpg_runtime.files import make_folder, write_atomically
from azpg_runtime.postgres.roles import SUPERUSER

OWNED = frozenset(
    {
        "allow_alter_system",
        "config_file",
        "data_directory",
        "dynamic_library_path",
        "extension_control_path",
        "external_pid_file",
        "hba_file",
        "ident_file",
        "jit_provider",
        "listen_addresses",
        "local_preload_libraries",
        "logging_collector",
        "port",
        "session_preload_libraries",
        "ssl",
        "unix_socket_directories",
        "unix_socket_group",
        "unix_socket_permissions",
    }
)
"""Parameters that the twin itself decides, or that would let it load what is not its own."""

PROGRAMS = frozenset(
    {
        "archive_cleanup_command",
        "archive_command",
        "archive_library",
        "oauth_validator_libraries",
        "recovery_end_command",
        "restore_command",
        "ssl_passphrase_command",
    }
)
"""Parameters that name what the server is to run or to load; Azure keeps them to itself, too.

They can no longer be set, but an instance keeps those that an earlier azpg let its owner set.
"""

HOST_UID = "azpg.model_host_uid"

DEFAULTS = {
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
}
"""Defaults of a Flexible Server where PostgreSQL's are others, or come from the machine."""


def quote(value: str) -> str:
    """`value` as a string of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def render(settings: Mapping[str, str]) -> str:
    """A configuration file of `settings`."""
    return "".join(f"{name} = {quote(value)}\n" for name, value in settings.items())


def write(
    folder: Path,
    *,
    major: int,
    data: Path,
    port: int,
    sockets: Path,
    host_socket: Path,
    host_uid: int,
    instance: str,
    preload: list[str],
    durable: bool = True,
) -> None:
    """Writes postgresql.conf into `folder`.

    `preload` are the libraries to start with; `durable=False` trades safety in a crash of the machine for
    speed.
    """
    own = {
        "data_directory": str(data),
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(sockets),
        "shared_preload_libraries": ", ".join(preload),
        "azpg.model_host_socket": str(host_socket),
        HOST_UID: str(host_uid),
        "cluster_name": f"azpg {instance}",
        **DEFAULTS,
    }
    if major >= 17:
        own["allow_alter_system"] = "off"
    if not durable:
        own |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    text = (
        "# Written by azpg at every start; `azpg server parameter set` sets parameters.\n"
        + render(own)
        + "include = 'parameters.conf'\n"
    )
    make_folder(folder, 0o755)
    write_atomically(folder / "postgresql.conf", text)


def write_rules(folder: Path, *, superusers: list[str], front: str, principals: list[str]) -> None:
    """Writes pg_hba.conf and pg_ident.conf: who may connect, and how they prove who they are.

    Nobody is trusted: the superuser is a user of this machine, everybody else has a password or a token.

    Args:
        folder: for both files.
        superusers: operating-system users who may connect as azuresu through the socket.
        front: the operating-system user of the TLS front, which has checked a token.
        principals: the roles that have tokens; they connect through the socket, by the front, only.
    """
    listed = ",".join(_token(name) for name in principals)
    rules = [
        f"local all {SUPERUSER} peer map=azpg",
        *([f"local all {listed} peer map=entra"] if principals else []),
        "local all all scram-sha-256",
        f"host all {SUPERUSER} all reject",
        *([f"host all {listed} all reject"] if principals else []),
        "host all all 127.0.0.1/32 scram-sha-256",
    ]
    maps = [
        *(f"azpg {_token(name)} {SUPERUSER}" for name in superusers),
        *(f"entra {_token(front)} {_token(name)}" for name in principals),
    ]
    make_folder(folder, 0o755)
    for name, lines in {"pg_hba.conf": rules, "pg_ident.conf": maps}.items():
        write_atomically(folder / name, "".join(f"{line}\n" for line in lines))


def _token(name: str) -> str:
    """A name in pg_hba.conf or pg_ident.conf that means itself, whatever it is."""
    return '"' + name.replace('"', '""') + '"'
