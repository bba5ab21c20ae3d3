"""The PostgreSQL servers that come with azpg: which there are, and what of them is copied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from azpg_runtime.errors import InstanceError
from azpg_runtime.home import Home
from azpg_runtime.postgres.bundled import BUILDS, DEFAULT_MAJOR, Build, bundled, find, psql
from azpg_runtime.postgres.installation import prepare, prepared

EVERY_BUILD = pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.label)


def said_by(program: Path | str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@EVERY_BUILD
def test_the_table_says_what_the_packages_hold(build: Build) -> None:
    original = bundled(build)
    assert said_by(original.root / original.bin / "postgres", "--version") == (
        f"postgres (PostgreSQL) {build.version}\n"
    )
    assert build.version.split(".")[0] == str(build.major) == str(original.major)


def test_each_major_has_one_default() -> None:
    assert (find(18).label, find(16).label) == ("embedded18", "pixeltable16")
    assert find(18, "pixeltable").version == "18.4"
    assert find(DEFAULT_MAJOR) == find(18, "embedded")


@pytest.mark.parametrize(
    ("major", "name", "said"),
    [
        (18, "debian", "there is no build 'debian' of PostgreSQL. Use embedded or pixeltable."),
        (16, "embedded", "the build 'embedded' has no PostgreSQL 16. Use --build pixeltable."),
        (18, "", "there is no build '' of PostgreSQL. Use embedded or pixeltable."),
        (17, None, "PostgreSQL 17 is not bundled. Use 16 or 18, or bring one with --pg-config."),
        (17, "embedded", "PostgreSQL 17 is not bundled. Use 16 or 18, or bring one with --pg-config."),
    ],
)
def test_what_is_not_bundled(major: int, name: str | None, said: str) -> None:
    with pytest.raises(InstanceError) as caught:
        find(major, name)
    assert str(caught.value) == said


def test_the_packages_are_found_without_being_imported() -> None:
    """Importing them warns where XDG_RUNTIME_DIR is not set, and makes folders."""
    program = """
import sys
from azpg_runtime.postgres.bundled import BUILDS, bundled
for build in BUILDS:
    bundled(build)
    assert build.distribution.replace("-", "_") not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("private", [False, True], ids=["links", "copies"])
@EVERY_BUILD
def test_a_copy_runs_and_holds_nothing_that_only_builders_need(
    tmp_path: Path, build: Build, *, private: bool
) -> None:
    home = Home(tmp_path)
    original = bundled(build)
    copy = prepare(home, original, private=private)
    assert copy.root == prepared(home, original)
    assert copy.root.name.startswith(f"pg{build.major}-")
    for program in ("initdb", "pg_ctl", "pg_dump", "pg_restore", "postgres", "psql"):
        assert build.version in said_by(copy.bin / program, "--version")
        # The libraries come from the copy or from the system, never from where the package lies.
        loaded = said_by("ldd", str(copy.bin / program))
        assert "not found" not in loaded
        assert str(original.root) not in loaded
    for library in copy.lib.glob("*.so"):
        assert "not found" not in said_by("ldd", str(library)), library.name
    files = [path for path in copy.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.suffix in {".a", ".h", ".mk"}]
    assert copy.has_extension("vector")
    assert copy.has_extension("azure_local_ai")
    assert (copy.lib / "azpg_server.so").is_file()
    assert sum(path.stat().st_size for path in files) < 40_000_000
    if private:
        assert all(path.stat().st_nlink == 1 for path in files)


def test_builds_of_a_major_have_copies_of_their_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert len({prepared(home, bundled(build)) for build in BUILDS}) == len(BUILDS)


@EVERY_BUILD
def test_the_table_says_whose_psql_has_line_editing(build: Build) -> None:
    original = bundled(build)
    loaded = said_by("ldd", str(original.root / original.bin / "psql"))
    assert ("libreadline" in loaded) is build.line_editing


def test_there_is_a_psql_with_line_editing() -> None:
    assert "libreadline" in said_by("ldd", str(psql()))
    assert said_by(psql(), "--version").startswith("psql (PostgreSQL) 18.")
