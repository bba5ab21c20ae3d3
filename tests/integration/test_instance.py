"""A local server's life: up, down, twice at once, killed, moved, several side by side."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from azpg.errors import UsageError
from azpg_runtime.errors import (
    HostError,
    InstanceError,
    InstanceNotFound,
    InstanceNotRunning,
)
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance, Wishes
from azpg_runtime.wait import wait_for
from tests.support.processes import processes_in


def rows(instance: Instance) -> int:
    with instance.connect() as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def keep_something(instance: Instance) -> None:
    with instance.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 10) AS n")


def test_up_twice_down_twice_and_data_stay(home: Home) -> None:
    instance = Instance("life", home=home)
    assert instance.up() is True
    assert instance.up() is False
    keep_something(instance)
    status = instance.status()
    assert status.state == "running"
    assert status.postgres_version.startswith("18.")
    assert instance.down() is True
    assert instance.down() is False
    assert instance.status().state == "stopped"
    with pytest.raises(InstanceNotRunning, match="does not run"):
        instance.connect()
    assert instance.up() is True
    assert rows(instance) == 10
    assert instance.status().port == status.port


def test_down_leaves_nothing_running_and_delete_leaves_nothing(home: Home) -> None:
    instance = Instance("gone", home=home)
    instance.up()
    runtime = instance.home.runtime
    instance.down()
    assert not processes_in(home.root)
    assert not runtime.exists()
    instance.down(delete=True)
    assert not instance.home.root.exists()
    with pytest.raises(InstanceNotFound, match="no instance 'gone'"):
        instance.status()


def test_a_killed_server_comes_up_again_with_its_data(home: Home) -> None:
    instance = Instance("killed", home=home)
    instance.up()
    keep_something(instance)
    sleeper = instance.connect()
    pid = instance.status().postgres_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: instance.status().state == "degraded", timeout=10)
    sleeper.close()
    assert instance.up() is True
    assert rows(instance) == 10


def test_a_stale_pid_file_of_another_process_does_not_matter(home: Home) -> None:
    instance = Instance("reboot", home=home)
    instance.up()
    keep_something(instance)
    pidfile = instance.home.data / "postmaster.pid"
    content = pidfile.read_text()
    instance.down()
    # As after a reboot: the file stands, and its number belongs to somebody else; sockets are gone.
    pidfile.write_text(content.replace(content.split("\n", 1)[0], str(os.getpid()), 1))
    assert instance.status().state == "stopped"
    assert instance.up() is True
    assert rows(instance) == 10


def test_two_commands_at_once_do_not_trip(home: Home) -> None:
    environment = {**os.environ, "AZPG_HOME": str(home.root)}
    command = [sys.executable, "-c", "from azpg.cli import main; main()", "up", "both"]
    started = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert sum("is up already" in text for text in said) == 2
    assert Instance("both", home=home).status().state == "running"


def test_instances_live_side_by_side(home: Home) -> None:
    one, two = Instance("one", home=home), Instance("two", home=home)
    threads = [threading.Thread(target=instance.up) for instance in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keep_something(one)
    with two.connect() as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM kept")
    assert one.status().port != two.status().port
    assert home.instance_names() == ["one", "two"]


def test_a_port_that_somebody_took_is_replaced_unless_it_was_chosen(home: Home) -> None:
    instance = Instance("moved", home=home)
    instance.up()
    port = instance.status().port
    instance.down()
    said: list[str] = []
    with socket.create_server(("127.0.0.1", port)):
        instance.up(say=said.append)
    assert instance.status().port != port
    assert any(f"Port {port} is taken" in line for line in said)
    with instance.connect() as connection:
        connection.execute("SELECT 1")
    instance.down()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = taken.getsockname()[1]
        with pytest.raises(InstanceError, match=f"port {chosen} .* is taken"):
            instance.up(Wishes(port=chosen))


def test_postgres_16_can_be_chosen_but_not_changed(home: Home) -> None:
    instance = Instance("old", home=home)
    instance.up(Wishes(major=16))
    assert instance.status().postgres_version.startswith("16.")
    with pytest.raises(InstanceError, match="has major 16; it cannot become 18"):
        instance.up(Wishes(major=18))


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "..", "a" * 64])
def test_names_that_are_not_allowed(home: Home, name: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        Instance(name, home=home)


@pytest.mark.parametrize("admin", ["azure_pg_admin", "root", "pg_me", "", "x" * 64])
def test_admins_that_azure_would_not_take(home: Home, admin: str) -> None:
    with pytest.raises(UsageError):
        Instance("admin", home=home).up(Wishes(admin=admin or " " * 64))


def test_the_dsn_needs_no_password_and_the_wrong_one_is_refused(home: Home) -> None:
    instance = Instance("secret", home=home)
    instance.up()
    dsn = instance.dsn()
    password = instance.home.passfile.read_text().strip().split(":")[-1]
    assert password not in dsn
    assert password in instance.dsn(with_password=True)
    assert instance.home.passfile.stat().st_mode & 0o777 == 0o600
    for working in (dsn, instance.dsn(with_password=True)):
        with psycopg.connect(working) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("pgadmin",)
    port = instance.status().port
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(f"postgresql://pgadmin:wrong@127.0.0.1:{port}/postgres")
    with pytest.raises(psycopg.OperationalError, match="pg_hba"):
        psycopg.connect(f"postgresql://azuresu:{password}@127.0.0.1:{port}/postgres")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(
            host=str(instance.home.postgres_sockets), port=port, user="pgadmin", dbname="postgres"
        )
    for log in (instance.home.postgres_log, instance.home.host_log):
        assert password not in log.read_text()
    lines = processes_in(home.root).values()
    assert lines
    assert not [line for line in lines if password in line]


def test_reading_the_password_never_makes_one(home: Home) -> None:
    instance = Instance("lost", home=home)
    instance.up()
    instance.home.passfile.unlink()
    with pytest.raises(InstanceError, match="passfile is missing"):
        instance.dsn(with_password=True)
    assert not instance.home.passfile.exists()


def test_an_admin_with_colons_and_backslashes(home: Home) -> None:
    instance = Instance("odd", home=home)
    name = r"a:b\c @/?'\""
    instance.up(Wishes(admin=name))
    for dsn in (instance.dsn(), instance.dsn(with_password=True)):
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (name,)


def test_what_libpq_finds_in_the_environment_does_not_reach_us(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGSSLMODE": "verify-full",
        "PGHOSTADDR": "127.0.0.2",
        "PGSERVICE": "nowhere",
        "PGOPTIONS": "-c no_such=1",
        "PGREQUIREAUTH": "none",
        "PGTARGETSESSIONATTRS": "read-only",
        "PGPASSWORD": "wrong",
        "PGCHANNELBINDING": "require",
        "PGDATA": "/nowhere",
    }.items():
        monkeypatch.setenv(name, value)
    instance = Instance("shielded", home=home)
    instance.up()
    with instance.connect() as connection:
        connection.execute("SELECT 1")
    assert instance.status().postgres_version.startswith("18.")
    assert os.environ["PGSERVICE"] == "nowhere"


@pytest.mark.parametrize("mask", [0o077, 0o000])
def test_any_umask_will_do(home: Home, mask: int) -> None:
    own = Home(home.root / "deep" / "home")
    hosts = own.instance("masked").host if os.geteuid() == 0 else None  # where its own user writes, too
    before = os.umask(mask)
    try:
        instance = Instance("masked", home=own)
        instance.up()
        with instance.connect() as connection:
            connection.execute("SELECT 1")
    finally:
        os.umask(before)
    try:
        writable = [
            path
            for path in own.root.rglob("*")
            if not path.is_symlink()
            and not path.is_socket()
            and path.stat().st_mode & 0o022
            and path != hosts
        ]
        assert writable == []
    finally:
        instance.down(delete=True)


def test_a_failed_first_start_leaves_no_runtime_folder(home: Home) -> None:
    instance = Instance("failing", home=home)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InstanceError, match="is taken"):
        instance.up(Wishes(port=taken.getsockname()[1]))
    assert not instance.home.runtime.exists()
    assert not processes_in(home.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_home_that_the_servers_user_cannot_enter_keeps_what_is_in_it(home: Home, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    closed = Home(tmp_path / "home")
    new, lost = Instance("new", home=closed), Instance("lost", home=closed)
    kept = lost.home.data / "PG_VERSION"  # of an instance that has lost its description
    kept.parent.mkdir(parents=True)
    kept.touch()
    for instance in (new, lost):
        with pytest.raises(InstanceError, match=r"cannot reach .*Set AZPG_HOME"):
            instance.up()
    assert not new.home.root.exists()
    assert kept.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_foreign_description_makes_no_user(home: Home) -> None:
    instance = Instance("hostile", home=home)
    instance.up()
    instance.down()
    known = len(pwd.getpwall())
    own, content = instance.home.os_user, instance.home.description.read_text()
    assert f'"{own}"' in content
    for name in ("no-such-user-azpg", "--badname", "root"):
        instance.home.description.write_text(content.replace(f'"{own}"', f'"{name}"', 1))
        for command in (instance.status, instance.down):
            with pytest.raises(InstanceError, match=r"does not exist|refuses to run as root"):
                command()
    with pytest.raises(InstanceError, match="refuses to run as root"):
        instance.up()
    instance.home.description.write_text(content.replace(f'"{own}"', '"--badname"', 1))
    with pytest.raises(UsageError, match="'--badname' cannot be a user's name"):
        instance.up()
    instance.home.description.write_text(content)
    assert len(pwd.getpwall()) == known


EVIL_SCHEMA = """
    CREATE SCHEMA evil;
    GRANT ALL ON SCHEMA evil TO public;
    CREATE FUNCTION evil.pwn() RETURNS text LANGUAGE plpgsql AS $$
        BEGIN ALTER ROLE pgadmin SUPERUSER; RETURN ''; EXCEPTION WHEN OTHERS THEN RETURN ''; END $$;
    CREATE VIEW evil.pg_settings AS
        SELECT name, setting, unit, category, short_desc, extra_desc, context, vartype, source, min_val, max_val,
               enumvals, boot_val || evil.pwn() AS boot_val, reset_val, sourcefile, sourceline, pending_restart
        FROM pg_catalog.pg_settings;
    CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE sql AS $$
        SELECT 'ALTER ROLE pgadmin SUPERUSER' $$;
"""


def test_the_admin_cannot_become_superuser_through_our_own_connections(home: Home) -> None:
    instance = Instance("evil", home=home)
    instance.up()
    for database in ("postgres", "template1"):
        with instance.connect(database, autocommit=True) as connection:
            connection.execute(EVIL_SCHEMA)
            for setting in ("search_path = evil, public, pg_catalog", "default_transaction_read_only = on"):
                connection.execute(f"ALTER DATABASE {database} SET {setting}")
    with instance.connect(autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.Error):
            connection.execute("ALTER DATABASE azure_maintenance SET search_path = evil")
        with pytest.raises(psycopg.Error):
            connection.execute("DROP DATABASE azure_maintenance")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        instance.connect("azure_maintenance")
    with instance.superuser() as superuser:
        # So that the next `up` has a role to make.
        superuser.execute("ALTER ROLE azure_local_ai_setting_manager RENAME TO hidden")
    instance.parameter("work_mem")
    instance.set_parameter("azure.extensions", "vector")
    instance.down()
    instance.up()
    with instance.superuser() as superuser:
        row = superuser.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'pgadmin'").fetchone()
        assert row == (False,)


def test_the_admin_may_drop_and_rename_databases(home: Home) -> None:
    instance = Instance("renamed", home=home)
    instance.up()
    with instance.connect("template1", autocommit=True) as connection:
        connection.execute("ALTER DATABASE postgres RENAME TO mine")
    instance.down()
    assert instance.up() is True
    assert instance.status().postgres_version.startswith("18.")


def test_an_up_that_was_killed_before_the_roles_is_finished_by_the_next(home: Home) -> None:
    instance = Instance("half", home=home)
    instance.up()
    # As if the roles had never been made: the admin's password is not the one in the file.
    instance.home.passfile.unlink()
    assert instance.up() is False
    with instance.connect() as connection:
        connection.execute("SELECT 1")


@pytest.mark.parametrize("name", ["registry.json", "settings.json"])
def test_a_damaged_file_of_the_host_is_named_at_once(home: Home, name: str) -> None:
    instance = Instance("damaged", home=home)
    instance.up()
    instance.down()
    (instance.home.host / name).write_text('{"version": ')
    for _ in range(2):
        with pytest.raises(HostError, match=f"the model host does not start.*{name}"):
            instance.up()
    (instance.home.host / name).unlink()
    assert instance.up() is True


def test_a_deletion_that_was_killed_is_finished_by_the_next_command(home: Home) -> None:
    instance = Instance("halfway", home=home)
    instance.up()
    keep_something(instance)
    instance.down()
    half = instance.home.root.with_name(".deleted-halfway-0123abcd")
    instance.home.root.rename(half)
    assert home.instance_names() == []
    assert instance.up() is True
    assert not half.exists()
    with instance.connect() as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM kept")


def test_the_cluster_cannot_be_copied_as_a_whole(home: Home) -> None:
    instance = Instance("copy", home=home)
    instance.up()
    done = subprocess.run(
        [
            instance.program("pg_basebackup"),
            "-d",
            instance.dsn(),
            "-D",
            str(home.root / "backup"),
            "-X",
            "none",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no pg_hba.conf entry for replication connection" in done.stderr


def test_only_the_owner_reads_the_logs(home: Home) -> None:
    instance = Instance("private", home=home)
    instance.up()
    for log in (instance.home.postgres_log, instance.home.host_log):
        assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="everybody but root runs all tests as an ordinary user")
def test_an_ordinary_user_needs_no_root(home: Home) -> None:
    """The whole way as user 4242, who may read everything (the interpreter may be in root's own folder)."""
    nobody = pwd.getpwnam("nobody")
    os.chown(home.root, nobody.pw_uid, nobody.pw_gid)
    script = (
        "import os; from azpg_runtime import Twin; from azpg_runtime.postgres.instance import Wishes\n"
        "assert os.geteuid() != 0\n"
        "twin = Twin('user'); twin.up(); twin.set_parameter('azure.extensions', 'vector,azure_local_ai')\n"
        "c = twin.connect(autocommit=True); c.execute('CREATE EXTENSION azure_local_ai')\n"
        "c.execute(\"SELECT azure_local_ai.model_register('m:v1', 'all-minilm-l6-v2')\")\n"
        "print(len(c.execute(\"SELECT azure_local_ai.create_embeddings('m', 'x')\").fetchone()[0]))\n"
        "c.close(); print(oct(twin.home.runtime.stat().st_mode), twin.status().state); twin.down(delete=True)\n"
    )
    done = subprocess.run(
        [
            *("setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=+dac_read_search"),
            *("--ambient-caps=+dac_read_search", sys.executable, "-c", script),
        ],
        env={
            "AZPG_HOME": str(home.root),
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "XDG_RUNTIME_DIR": str(home.root),
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["384", "0o40700", "running"]
