"""The pytest plug-in, as a project of somebody else uses it: pytest runs in processes of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from azpg_runtime import testing
from azpg_runtime.errors import InstanceError
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.testing.databases import Databases
from azpg_runtime.testing.run import Run
from azpg_runtime.testing.wanted import Wanted
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, ROOT
from tests.support.processes import processes_in

EXAMPLE = ROOT / "examples" / "pytest"
GUIDE = ROOT / "docs" / "testing.md"
DEADLINE = 120
"""Seconds that a run may take on a busy machine."""


class Project:
    """Somebody's tests, in a folder of their own, with a folder for temporary files."""

    def __init__(self, root: Path) -> None:
        self.root = root / "project"
        self.temporary = root / "tmp"
        self.root.mkdir()
        self.temporary.mkdir(mode=0o711)
        self.write("pytest.ini", f"[pytest]\nazpg_models = {MODEL}\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self, *arguments: str, folder: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """pytest in a session of its own, as in a terminal."""
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        return subprocess.Popen(
            [*command, *arguments],
            cwd=folder or self.root,
            env={**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, folder: Path | None = None, **environment: str) -> tuple[int, str]:
        """The exit status of pytest and what it printed."""
        process = self.start(*arguments, folder=folder, **environment)
        said, _ = process.communicate(timeout=DEADLINE)
        return process.returncode, said

    def homes(self) -> list[Path]:
        """What runs left."""
        return sorted(self.temporary.glob("azpg-pytest-*"))

    def processes(self) -> list[str]:
        """The command lines of processes that a run left: its servers and model hosts."""
        return list(processes_in(self.temporary).values())


@pytest.fixture
def project() -> Iterator[Project]:
    """An empty project, after which no process and no folder may be left."""
    root = Path(tempfile.mkdtemp(prefix="azpg-test-"))
    root.chmod(0o711)
    project = Project(root)
    yield project
    left, processes = project.homes(), project.processes()
    for home in left:
        Run(home).remove()
    shutil.rmtree(root)
    assert (left, processes) == ([], [])


def outcome(said: str) -> str:
    """pytest's last line without the time and without what only an editable install is warned of."""
    last = said.strip().splitlines()[-1].strip("= ")
    return re.sub(r", \d+ warnings?| in [\d.]+s.*", "", last)


# The example project


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_the_example_project_works_as_it_stands(project: Project, options: list[str]) -> None:
    status, said = project.run(str(EXAMPLE.relative_to(ROOT)), *options, folder=ROOT)
    assert (status, outcome(said)) == (0, "7 passed"), said


@pytest.mark.parametrize("language", ["toml", "python"])
def test_the_guide_shows_the_example_project(language: str) -> None:
    blocks = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert blocks
    for name, text in blocks:
        lines = (EXAMPLE / name).read_text().splitlines()
        assert set(text.splitlines()) <= {*lines, ""}, name


def test_the_guide_names_every_option_and_fixture() -> None:
    guide = GUIDE.read_text()
    names = [*testing._TEXTS, *testing._LISTS, "keep"]
    options = [f"--azpg-{name.replace('_', '-')}" for name in names]
    fixtures = [name for name in vars(testing) if name.startswith("azpg_")]
    assert [name for name in (*options, *fixtures) if f"`{name}" not in guide] == []


# A run of tests


TESTS = """
    import os, pathlib
    import psycopg, pytest

    NOTES = pathlib.Path(__file__).parent

    @pytest.fixture(autouse=True)
    def remembered(azpg_twin, worker_id):
        (NOTES / f"{worker_id}.host").write_text(str(azpg_twin.status().host_pid))

    @pytest.mark.parametrize("number", range(4))
    def test_each_has_its_own_copy_of_the_template(azpg_connection, number):
        assert azpg_connection.execute("SELECT body FROM notes").fetchall() == [("from the hook",)]
        azpg_connection.execute("INSERT INTO notes VALUES ('another')")

    def test_others_see_what_the_connection_did(azpg_connection, azpg_dsn):
        azpg_connection.execute("INSERT INTO notes VALUES ('seen')")
        with psycopg.connect(azpg_dsn) as other:
            assert other.execute("SELECT count(*) FROM notes").fetchone() == (2,)
        with pytest.raises(psycopg.errors.UndefinedTable):
            azpg_connection.execute("SELECT FROM nothing")
        azpg_connection.execute("SELECT FROM notes")

    def test_models_and_extensions_are_there(azpg_connection):
        query = "SELECT cardinality(azure_local_ai.create_embeddings('MODEL:v1', body)) FROM notes"
        assert azpg_connection.execute(query).fetchone() == (384,)
        azpg_connection.execute("SELECT '[1,2]'::vector")

    def test_databases_are_named_after_tests(azpg_database, azpg_dsn, azpg_twin):
        assert azpg_database.startswith("test_databases_are_named_after_tests_")
        assert azpg_dsn == azpg_twin.dsn(azpg_database)

    def test_a_connection_that_is_left_open_does_no_harm(azpg_dsn):
        global left
        left = psycopg.connect(azpg_dsn)

    def test_a_database_that_the_test_itself_drops(azpg_twin, azpg_database):
        with azpg_twin.connect(autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {azpg_database}")

    def test_the_name_of_a_twin_stands_for_one_twin(azpg_twin, azpg_twin_factory):
        assert azpg_twin_factory("default") is not None
        with pytest.raises(pytest.fail.Exception, match="'default' was made with other properties"):
            azpg_twin_factory("default", profile="azure-2026", models=[])
        with pytest.raises(pytest.fail.Exception, match="the store has no model 'not-there'"):
            azpg_twin_factory("other", models=["not-there"])
"""
OLDER = """
    import pytest

    @pytest.fixture(scope="session")
    def azpg_twin(azpg_twin_factory):
        return azpg_twin_factory("older", postgres=16)

    def test_another_twin(azpg_connection, azpg_twin):
        assert azpg_twin.name == "older"
        assert azpg_connection.info.server_version // 10000 == 16
        azpg_connection.execute("SELECT FROM notes")
"""
HOOK = """
    import pathlib

    def pytest_azpg_template(connection):
        connection.execute("CREATE TABLE {table} (body text)")
        connection.execute("INSERT INTO {table} VALUES ('from the hook')")
        with (pathlib.Path(__file__).parent / "calls").open("a") as calls:
            calls.write("{table} in " + connection.info.dbname + "\\n")
"""
BROKEN = """
    import psycopg

    def pytest_azpg_template(connection, dsn, config):
        with psycopg.connect(dsn) as other:
            other.execute("SELECT FROM there_is_no_such_table")
"""


def dedented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


@pytest.mark.usefixtures("minilm")
def test_a_run_of_tests(project: Project) -> None:
    project.write("conftest.py", dedented(HOOK.replace("{table}", "notes")))
    project.write("test_notes.py", dedented(TESTS.replace("MODEL", MODEL)))
    project.write("older/test_older.py", dedented(OLDER))
    project.write("more/conftest.py", dedented(HOOK.replace("{table}", "more")))
    project.write(
        "more/test_more.py",
        "def test_both_hooks_count_here(azpg_connection):\n"
        "    azpg_connection.execute('SELECT FROM notes, more')\n",
    )
    project.write("broken/conftest.py", dedented(BROKEN))
    project.write(
        "broken/test_broken.py",
        "import pytest\n\n@pytest.mark.parametrize('n', range(5))\ndef test_any(azpg_connection, n): pass\n",
    )
    status, said = project.run("-n", "2", "--dist", "loadfile", "-p", "randomly")
    assert (status, outcome(said)) == (1, "12 passed, 5 errors"), said
    # The twin was one for both workers, and each template was made once on it.
    pids = {path.read_text() for path in project.root.glob("*.host")}
    assert len(pids) == 1
    calls = (project.root / "calls").read_text().splitlines()
    # On the usual twin and on the older one.
    assert [line.split(" in ")[0] for line in calls] == ["notes", "notes"]
    assert (project.root / "more" / "calls").read_text().count("\n") == 1
    # What a hook raised is shown once, where it was raised.
    assert said.count("in pytest_azpg_template") == 1, said
    again = [
        line for line in said.splitlines() if line.startswith("azpg: the template could not be filled: U")
    ]
    assert len(again) == 4, said


# What cannot be


@pytest.fixture
def unstartable(project: Project) -> Project:
    """A project with some tests that need a twin, and one that does not."""
    project.write(
        "test_some.py",
        "import pytest\n\n@pytest.mark.parametrize('n', range(9))\ndef test_any(azpg_dsn, n): pass\n",
    )
    project.write("test_other.py", "def test_other(): pass\n")
    return project


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_a_model_that_is_not_there_is_one_line(unstartable: Project, options: list[str]) -> None:
    status, said = unstartable.run(*options, AZPG_HOME=str(unstartable.root / "new"))
    assert status == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in said.splitlines() if MODEL in line]
    assert line.startswith(f"ERROR: azpg: the store has no model '{MODEL}'.")
    assert f"`azpg models pull {MODEL}`" in line
    assert "Traceback" not in said
    assert "passed" not in said


def test_what_needs_no_twin_runs_without(unstartable: Project) -> None:
    """Neither a model nor psycopg nor a folder is needed, and nothing of the twin is imported."""
    unstartable.write("psycopg.py", "raise ImportError('there is no libpq')\n")
    unstartable.write(
        "test_other.py",
        "import sys\n\ndef test_light():\n"
        "    loaded = {name for name in sys.modules if name.startswith('azpg')}\n"
        "    assert loaded <= {'azpg', 'azpg.errors', 'azpg_runtime', 'azpg_runtime.testing',\n"
        "                      'azpg_runtime.testing.hooks', 'azpg-0'}\n",
    )
    path = {"PYTHONPATH": str(unstartable.root)}
    status, said = unstartable.run("--azpg-models", "no-such-model", "test_other.py", **path)
    assert (status, outcome(said)) == (0, "1 passed"), said
    status, said = unstartable.run("--azpg-models", "no-such-model", "--collect-only", **path)
    assert status == 0
    status, said = unstartable.run(**path)
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: azpg: its fixtures cannot be used here: there is no libpq." in said
    assert unstartable.homes() == []


@pytest.mark.usefixtures("minilm")
def test_the_configuration_file_and_the_command_line(unstartable: Project) -> None:
    unstartable.write("pytest.ini", "[pytest]\nazpg_postgres = 17\nazpg_models = one, two\n")
    _, said = unstartable.run()
    assert "ERROR: azpg: PostgreSQL 17 is not bundled. Use 16 or 18" in said
    _, said = unstartable.run("--azpg-postgres", "16")
    assert "ERROR: azpg: the store has no model 'one'." in said
    (unstartable.root / "pytest.ini").unlink()
    unstartable.write(
        "pyproject.toml", '[tool.pytest.ini_options]\nazpg_extensions = ["vector", "nothing"]\n'
    )
    _, said = unstartable.run("--azpg-profile", "azure-2026")
    assert "ERROR: azpg: nothing cannot be allow-listed on this server." in said


def test_what_the_logs_say_can_be_kept(unstartable: Project) -> None:
    unstartable.write(
        "sitecustomize.py",
        "import sys\nif any('supervisor' in word for word in sys.orig_argv): raise SystemExit(3)\n",
    )
    status, said = unstartable.run("--azpg-models=", PYTHONPATH=str(unstartable.root))
    assert (status, outcome(said)) == (1, "1 passed, 9 errors"), said
    assert re.search(r"^azpg: .* See /.*\.log\. --azpg-keep keeps that file\.$", said, re.MULTILINE), said


@pytest.fixture
def databases(twin: Instance, tmp_path: Path) -> Iterator[Databases]:
    """The databases on our own twin, with a base template of another name."""
    found = Databases(twin, lock=tmp_path / "lock")
    found.base = f"template_{os.getpid()}"
    allowed = twin.parameter("azure.extensions").value
    yield found
    twin.set_parameter("azure.extensions", allowed)
    for name in (found.base, f"{found.base}_new"):
        found.drop(name)


def test_an_extension_that_this_server_lacks(databases: Databases) -> None:
    with pytest.raises(InstanceError, match='the extension age cannot be created: extension "age" is '):
        databases.prepare(Wanted(extensions=("age",)))


def test_a_model_that_the_host_refuses(databases: Databases) -> None:
    with pytest.raises(InstanceError, match=r"the model x:v1 cannot be registered: .*model_register"):
        databases.prepare(Wanted(extensions=("azure_local_ai",), models=("x:v1",)))


def test_preparing_goes_on_where_a_killed_process_ended(databases: Databases, twin: Instance) -> None:
    with twin.connect(autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {databases.base}_new")
    for _ in range(2):
        databases.prepare(Wanted(extensions=()))
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        twin.connect(databases.base)


def test_any_name_of_a_test_will_do(databases: Databases, twin: Instance) -> None:
    for label in ("test_[Größe/1-2]" * 9, "\N{SNOWMAN}", ""):
        name = databases.create(label, template="template1")
        try:
            assert re.fullmatch(r"[a-z0-9_]{9,63}", name)
            twin.connect(name).close()
        finally:
            databases.drop(name)


# Ends that nobody planned


WAITING = """
    import os, pathlib, threading
    import pytest

    @pytest.mark.parametrize("number", range(8))
    def test_waits(azpg_connection, number):
        (pathlib.Path(__file__).parent / f"{os.getpid()}.waits").touch()
        threading.Event().wait()
"""


def waiting(project: Project) -> set[int]:
    """The processes that are in the middle of a test."""
    return {int(path.stem) for path in project.root.glob("*.waits")}


@pytest.mark.usefixtures("minilm")
def test_a_killed_worker_is_replaced_and_an_interrupted_run_leaves_nothing(project: Project) -> None:
    project.write("test_waits.py", dedented(WAITING))
    process = project.start("-n", "2")
    try:
        assert wait_for(lambda: len(waiting(project)) == 2, timeout=DEADLINE)
        (home,) = project.homes()
        os.kill(min(waiting(project)), signal.SIGKILL)
        assert wait_for(lambda: len(waiting(project)) == 3, timeout=DEADLINE)
        assert project.homes() == [home]
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, to all processes of the terminal
        said, _ = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, said
    assert "replacing crashed worker" in said
    assert not home.exists()


@pytest.mark.usefixtures("minilm")
def test_the_next_run_removes_what_a_killed_one_left_and_keeps_its_own_if_asked(project: Project) -> None:
    project.write("test_waits.py", dedented(WAITING))
    process = project.start("test_waits.py")
    assert wait_for(lambda: bool(waiting(project)), timeout=DEADLINE)
    process.kill()
    process.communicate(timeout=DEADLINE)
    (left,) = project.homes()
    assert project.processes() != []

    project.write(
        "test_looked_at.py",
        "def test_looked_at(azpg_connection):\n    azpg_connection.execute('CREATE TABLE proof()')\n",
    )
    status, said = project.run("test_looked_at.py", "--azpg-keep")
    assert status == 0, said
    (kept,) = project.homes()
    assert kept != left
    assert not any(str(left) in line for line in project.processes())

    # What the summary says can be pasted.
    lines = said[said.index("azpg: the twin is kept") :].splitlines()[1:5]
    azpg = "azpg() { " + f'{sys.executable} -c "from azpg.cli import main; main()" "$@"; }}; '
    listing = subprocess.check_output(["bash", "-c", azpg + "; ".join(lines[:2])], text=True)
    (database,) = re.findall(r"test_looked_at_\w+", listing)
    pasted = azpg + "; ".join([lines[0], lines[2].replace("DATABASE", database) + r" -- -c '\d'"])
    assert "proof" in subprocess.check_output(["bash", "-c", pasted], text=True)
    subprocess.check_call(["bash", "-c", azpg + "; ".join([lines[0], lines[3]])])
    assert project.homes() == []
