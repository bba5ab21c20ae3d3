"""Which servers the tests take in: what can be built against, not what is merely there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.servers import BUNDLED, servers


def installed(folder: Path, *, headers: bool = True, pgxs: bool = True) -> Path:
    """A PostgreSQL 15 as far as its pg_config tells, with or without what building needs."""
    for name in ("bin", "lib", "share", "include"):
        (folder / name).mkdir()
    (folder / "bin" / "postgres").touch()
    if headers:
        (folder / "include" / "postgres.h").touch()
    if pgxs:
        (folder / "pgxs.mk").touch()
    pg_config = folder / "bin" / "pg_config"
    pg_config.write_text(
        f"""#!/bin/sh
case "$1" in
--bindir) echo {folder}/bin;;
--pkglibdir) echo {folder}/lib;;
--sharedir) echo {folder}/share;;
--includedir-server) echo {folder}/include;;
--pgxs) echo {folder}/pgxs.mk;;
--version) echo "PostgreSQL 15.18 (Debian 15.18-0+deb12u1)";;
esac
"""
    )
    pg_config.chmod(0o755)
    return pg_config


def test_one_that_is_complete_is_tested(tmp_path: Path) -> None:
    found, remark = servers({"CI": "true"}, debian=installed(tmp_path))
    assert [server.name for server in found] == ["pg18", "pg16", "pg15"]
    assert remark == ""


@pytest.mark.parametrize("lacking", ["headers", "pgxs"])
def test_one_that_cannot_be_built_against_is_named_and_left_out(tmp_path: Path, lacking: str) -> None:
    path = installed(tmp_path, **{lacking: False})
    file = {"headers": "include/postgres.h", "pgxs": "pgxs.mk"}[lacking]
    found, remark = servers({}, debian=path)
    assert found == [*BUNDLED]
    assert remark.startswith("PostgreSQL 15 is not tested; missing: ")
    assert remark.endswith(f"({tmp_path / file}).")
    with pytest.raises(LookupError, match=r"In CI it has to be: install .*postgresql-server-dev-15"):
        servers({"CI": "true"}, debian=path)


def test_one_that_is_not_there_is_missed_in_ci_only(tmp_path: Path) -> None:
    path = tmp_path / "pg_config"
    found, remark = servers({}, debian=path)
    assert found == [*BUNDLED]
    assert remark == f"PostgreSQL 15 is not tested; {path} is no pg_config: No such file or directory."
    with pytest.raises(LookupError):
        servers({"CI": "1"}, debian=path)


def test_a_shim_with_sanitizers_is_for_the_bundled_ones(tmp_path: Path) -> None:
    found, remark = servers({"CI": "true", "SANITIZED_SHIM": "build/sanitize"}, debian=tmp_path / "pg_config")
    assert (found, remark) == ([*BUNDLED], "")
