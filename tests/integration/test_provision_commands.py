"""`azpg plan`, `apply` and `drift` as a person types them: real processes, real output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from azpg_runtime.postgres.instance import Instance
from tests.command_line import AZPG, PATIENCE, Run, Start, machine, run, started
from tests.integration.provisioning import HEAD, PRODUCTS, TABLE, Site, wrong_rows
from tests.terminal import Screen, on_terminal


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    site.file("init.sql", PRODUCTS)
    site.file("azpg.yaml", with_target(site, HEAD + TABLE + "      index: {method: hnsw}\n"))
    yield site
    site.drop()


def with_target(site: Site, text: str) -> str:
    return text.replace("NAME", site.name) + f"target: {{local: {site.twin.name}}}\n"


def environment(site: Site) -> dict[str, str]:
    return {**os.environ, "AZPG_HOME": str(site.twin.home.home.root), "NO_COLOR": "1"}


@pytest.fixture
def azpg(site: Site) -> Run:
    return partial(run, cwd=site.folder, **environment(site))


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Starts `azpg apply --yes`, which is gone after the test."""
    with started() as start:
        yield partial(
            start, "apply", "--yes", cwd=site.folder, env=environment(site), stdout=subprocess.DEVNULL
        )


def test_from_plan_to_drift(site: Site, azpg: Run) -> None:
    said = azpg("plan").stdout
    assert "create  database" in said
    assert "public.products.embedding" in said
    assert said.endswith(f"9 changes on local {site.twin.name}: 8 to create, 1 to update. Next: azpg apply\n")
    planned = machine(azpg("plan", "--json"), "plan")
    drifted = machine(azpg("drift", "--json", status=3), "drift")
    assert drifted == planned
    refused = azpg("apply", status=2).stderr
    assert (
        "azpg: there is nobody to ask: repeat it with --yes once `azpg plan` shows what you want." in refused
    )
    made = machine(azpg("apply", "--yes", "--json"), "apply")
    assert made == planned
    again = azpg("apply", "--yes")
    assert again.stdout == f"Nothing to do: local {site.twin.name} is as azpg.yaml says.\n"
    assert azpg("plan").stdout == again.stdout
    assert azpg("drift").stdout == f"No drift: local {site.twin.name} is as azpg.yaml says.\n"
    assert azpg("drift", "--quick").stdout == (
        f"No drift: local {site.twin.name} is as azpg.yaml says; where triggers are in place, only the rows that they "
        "have noted were looked at.\n"
    )
    with site.connect() as connection:
        connection.execute("ALTER TABLE products DISABLE TRIGGER ALL")
    drift = azpg("drift", status=3).stdout
    assert "its triggers are not as azpg made them" in drift
    assert drift.endswith(f"local {site.twin.name} has drifted from azpg.yaml: 1 change.\n")


def test_what_is_done_is_said(site: Site, azpg: Run) -> None:
    done = azpg("apply", "--yes")
    assert f"update rows public.products.embedding in {site.name} (8 of 9)\n" in done.stderr
    assert re.search(r"^✓ rows public\.products\.embedding  22 in \d+\.\d s$", done.stderr, re.MULTILINE)
    assert done.stderr.endswith("in CI: exit code 3 once the server differs\n")
    assert done.stdout.endswith("is as azpg.yaml says.\n")


def test_the_plan_comes_before_what_is_done_in_one_log(site: Site) -> None:
    command = [*AZPG, "apply", "--yes"]
    done = subprocess.run(
        command, cwd=site.folder, env=environment(site), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("action  what")
    assert done.stdout.index("public.products.embedding  type: ") < done.stdout.index("update rows public.")


def watched(site: Site, *arguments: str, **options: Any) -> Screen:
    """Runs a command on a terminal, which has colours: without them a bar has no ground."""
    coloured = {name: value for name, value in environment(site).items() if name != "NO_COLOR"}
    return on_terminal(*arguments, cwd=site.folder, environment=coloured, **options)


def test_a_key_is_whole_on_a_narrow_terminal(site: Site, azpg: Run) -> None:
    key = "0123456789abcdef" * 4
    table = TABLE.replace(
        "source: [title, description]", "expression: title || (1 / length(description))::text"
    )
    site.file(
        "init.sql",
        f"CREATE TABLE products (id text PRIMARY KEY, title text, description text); INSERT INTO products VALUES ('{key}', 'a', '');",
    )
    site.file("azpg.yaml", with_target(site, HEAD + table))
    azpg("apply", "--yes")
    said = watched(site, "vectorize", "--failed", columns=60).lines
    while "attempts" not in said[0]:
        del said[0]
    place = said[0].index("key")
    assert "".join(re.findall("[0-9a-f]+", " ".join(line[place:].split(" ")[0] for line in said[1:]))) == key
    assert "…" not in "".join(said[-5:])


@pytest.mark.parametrize("columns", [65, 80, 200])
def test_names_are_whole_on_a_terminal_of_any_width(site: Site, columns: int) -> None:
    lines = watched(site, "plan", columns=columns).lines
    (column,) = [line.split() for line in lines if line.startswith("create  column")]
    assert column[3:4] == ["public.products.embedding"]
    assert max(map(len, lines)) <= columns
    beside = any(re.search(r"public\.products\.embedding +type: ", line) for line in lines)
    assert beside is (columns == 200)


def test_mistakes_of_a_spec_are_a_line_each_and_exit_code_2(site: Site, azpg: Run) -> None:
    site.file("azpg.yaml", "version: 1\ndatabase: []\n")
    said = azpg("plan", status=2).stderr
    assert said == (
        "azpg: 2 mistakes:\n  azpg.yaml:1: databases: is missing.\n"
        "  azpg.yaml:2: database: is unknown: did you mean databases?\n"
    )


def test_a_plan_that_cannot_be_is_one_line(site: Site, azpg: Run) -> None:
    site.file("azpg.yaml", with_target(site, HEAD.replace("azure_local_ai]", "azure_local_ai, vectr]")))
    said = azpg("plan", status=1).stderr
    assert said == "azpg: this server does not offer the extension vectr: did you mean vector?\n"


def test_reasons_why_a_plan_cannot_be_are_a_line_each(site: Site, azpg: Run) -> None:
    site.file(
        "azpg.yaml", with_target(site, HEAD.replace("azure_local_ai]", "azure_local_ai, vectr, vectorr]"))
    )
    assert azpg("plan", status=1).stderr == (
        "azpg: 2 reasons why this cannot be planned:\n"
        "  this server does not offer the extension vectr: did you mean vector?\n"
        "  this server does not offer the extension vectorr: did you mean vector?\n"
    )


def test_a_table_that_is_misspelt(site: Site, azpg: Run) -> None:
    azpg("apply", "--yes")
    text = (site.folder / "azpg.yaml").read_text()
    site.file("azpg.yaml", text.replace("name: products", "name: product"))
    assert azpg("plan", status=1).stderr == (
        "azpg: azpg.yaml:8: databases[0].tables[0].name: there is no table public.product in the database "
        f"{site.name}: did you mean products?\n"
    )


def test_a_person_is_asked(site: Site) -> None:
    question = f"Make 9 changes on local {site.twin.name}: 8 to create, 1 to update? [y/N]:"
    for answer, status in (("n", 1), ("y", 0)):
        typed = iter([f"{answer}\n".encode()])
        screen = watched(
            site,
            "apply",
            columns=120,
            status=status,
            typed=lambda seen: next(typed, None) if question in seen else None,  # noqa: B023
        )
        assert f"{question} {answer}" in screen.lines
        assert ("Nothing was changed." in screen.lines) is (answer == "n")
    with site.connect() as connection:
        assert wrong_rows(connection) == 0


def long_rows(site: Site, rows: int, sync: str = "trigger") -> None:
    """A spec, by whose apply there is something to see."""
    site.file(
        "init.sql",
        "CREATE TABLE products (id bigint PRIMARY KEY, title text, description text); INSERT INTO products "
        f"SELECT n, 'title ' || n, repeat('words and words ' || n, 20) FROM generate_series(1, {rows}) AS n",
    )
    table = TABLE.replace("source: [title, description]", "expression: coalesce(title, '') || description")
    site.file("azpg.yaml", with_target(site, f"{HEAD}{table}      sync: {sync}\n"))


def test_what_a_person_sees_of_an_apply(site: Site) -> None:
    """A bar that has room on 80 columns, and a line that stays of each change; in the end, what to do next."""
    long_rows(site, 200)
    screen = watched(site, "apply", "--yes")
    bars = screen.seen("━")
    assert bars
    for bar in bars:
        assert len(bar) <= 80
        assert " of " not in bar or bar.count("━") + bar.count("╸") + bar.count("╺") >= 15, bar
        assert site.name not in bar or "database" in bar
        assert re.match(r"[1-8]/8 (database|extension|ledger|init|column|sync|rows) ", bar), bar
        assert re.search(r" \d+:\d\d( left)?$", bar), bar
    assert screen.seen("8/8 rows public.products.embedding", " of 200 "), bars
    done = screen.lines[-12:-4]
    assert done[0].startswith(f"✓ database {site.name}  ")
    assert re.fullmatch(r"✓ rows public\.products\.embedding  200 in \d+\.\d s", done[-1])
    assert all(re.fullmatch(r"✓ .* \d+\.\d s", line) for line in done), done
    assert re.fullmatch(r"Done: 8 changes in \d+\.\d s\. .* is as azpg\.yaml says\.", screen.lines[-4])
    assert screen.lines[-3:] == [
        "Next:",
        "  azpg search products '…'  what the rows answer",
        "  azpg drift                in CI: exit code 3 once the server differs",
    ]


def test_a_generated_column_says_how_long_it_takes(site: Site) -> None:
    long_rows(site, 60, "generated")
    screen = watched(site, "apply", "--yes")
    (said,) = screen.seen("public.products is being rewritten: 60 rows, for about ")
    assert said.endswith(" s by a sample")
    assert screen.seen("column public.products.embedding", "━", "about 60")


def test_ctrl_c_says_what_is_done(site: Site, azpg: Run) -> None:
    long_rows(site, 400)
    keys = iter([b"\x03"])
    screen = watched(
        site,
        "apply",
        "--yes",
        status=130,
        typed=lambda seen: next(keys, None) if "8/8 rows public.products" in seen else None,
    )
    assert "".join(screen.lines[-2:]).endswith(
        "azpg: interrupted: 7 of 8 changes are done and stay; `azpg apply` goes on from there."
    )
    assert not [line for line in screen.lines if "━" in line]
    azpg("apply", "--yes")
    with site.connect() as connection:
        assert connection.execute("SELECT count(*) FROM products WHERE embedding IS NULL").fetchone() == (0,)


@pytest.mark.parametrize(
    "last",
    ["create extension", "create init", "create column", "update rows", "create index"],
)
def test_killed_anywhere_the_next_apply_goes_on(site: Site, azpg: Run, last: str, start: Start) -> None:
    begun = start()
    assert begun.stderr is not None
    with begun.stderr:
        assert any(line.startswith(last) for line in begun.stderr)
        begun.send_signal(signal.SIGKILL)
    begun.wait()
    azpg("apply", "--yes")
    assert "Nothing to do" in azpg("apply", "--yes").stdout
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert connection.execute(invalid).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (23,)


def test_two_applies_wait_for_each_other(site: Site, start: Start) -> None:
    processes = [start() for _ in range(2)]
    ended = [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in processes]
    codes = sorted(code for _, code in ended)
    # The one that came second has waited, and then refused what it had been shown; or it came after the first.
    assert codes in ([0, 0], [0, 1]), ended
    for said, code in ended:
        assert not code or "has changed since the plan was made" in said
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (23,)


def test_whoever_waits_for_the_lock_says_so(site: Site, azpg: Run, start: Start) -> None:
    key = int.from_bytes(b"azpg", "big")
    with site.twin.connect("postgres", autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key])
        waiting = start()
        assert waiting.stderr is not None
        with waiting.stderr:
            assert (
                f"Waiting for another `azpg apply` on local {site.twin.name} (session {holder.info.backend_pid}"
                in waiting.stderr.readline()
            )
            holder.execute("SELECT pg_advisory_unlock(%s)", [key])
            assert "create database" in waiting.stderr.read()
        assert waiting.wait() == 0


def test_a_table_in_use_is_waited_for_without_stopping_others(site: Site, azpg: Run, start: Start) -> None:
    spec = with_target(site, HEAD + "  init: [init.sql]\n")
    site.file("azpg.yaml", spec)
    azpg("apply", "--yes")
    site.file("azpg.yaml", with_target(site, HEAD + TABLE))
    with site.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM products")
        waiting = start()
        assert waiting.stderr is not None
        with waiting.stderr:
            assert any(
                "Waiting for public.products, which others are using" in line for line in waiting.stderr
            )
            reader.execute("COMMIT")
            waiting.stderr.read()
        assert waiting.wait() == 0


def test_plan_and_drift_change_nothing(site: Site, azpg: Run) -> None:
    azpg("apply", "--yes")
    with site.connect() as connection, site.twin.superuser() as superuser:
        connection.execute("UPDATE products SET title = 'another' WHERE id = 1")
        connection.execute("ALTER TABLE products DISABLE TRIGGER ALL")
        connection.execute("UPDATE products SET title = 'yet another' WHERE id = 2")
        changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        connection.execute("SELECT pg_stat_force_next_flush()")
        settled = connection.execute(changes).fetchone()
        catalog = "SELECT jsonb_agg(to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[] ORDER BY oid) FROM pg_class AS c WHERE oid >= 16384"
        before = connection.execute(catalog).fetchone()
        read_only = "ALTER ROLE pgadmin SET default_transaction_read_only = on"
        superuser.execute(read_only)
        try:
            azpg("plan")
            azpg("drift", status=3)
        finally:
            superuser.execute("ALTER ROLE pgadmin RESET default_transaction_read_only")
        assert connection.execute(catalog).fetchone() == before
        assert connection.execute(changes).fetchone() == settled
