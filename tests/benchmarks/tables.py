"""What a table costs an apply where there are many, against few: ``python -m tests.benchmarks.tables``.

Each table has two rows and a column with `sync: queue`; the model is so small that it takes no time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from azpg.output import out
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.planning import plan
from azpg_runtime.postgres.instance import Instance
from tests.conftest import new_home, remove_home
from tests.integration.provisioning import Site
from tests.unit import tiny

ROUNDS = 3
FEW, MANY = 50, 400
_MODEL = "tiny:v1"
_TABLES = """
DO $$ BEGIN
    FOR n IN 1..{} LOOP
        EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, body text)', n);
        EXECUTE format('INSERT INTO t%s VALUES (1, %L), (2, %L)', n, 'the cat ' || n, 'a dog ' || n);
    END LOOP;
END $$
"""


def milliseconds(instance: Instance, folder: Path, tables: int) -> tuple[float, float]:
    """What each of so many tables costs an apply, and a plan that finds nothing to do."""
    site = Site(instance, folder)
    head = f"version: 1\nmodels: [{{uri: {_MODEL}, path: tiny}}]\ndatabases:\n- name: NAME\n  extensions: [vector, azure_local_ai]\n"
    names = "".join(
        f"  - {{name: t{n}, embeddings: [{{column: e, source: [body], model: {_MODEL}, sync: queue}}]}}\n"
        for n in range(1, tables + 1)
    )
    try:
        site.apply(site.spec(head, init=None))
        with site.connect() as connection:
            connection.execute(_TABLES.format(tables))
        spec = site.spec(f"{head}  tables:\n{names}", init=None)
        began = time.perf_counter()
        site.apply(spec)
        applied = time.perf_counter()
        assert not plan(spec, inspect(site.target, spec)).changes
        planned = time.perf_counter()
        return 1000 * (applied - began) / tables, 1000 * (planned - applied) / tables
    finally:
        site.drop()


def main() -> None:
    """Runs it on a twin of its own, both sizes in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    home = new_home()
    instance = Instance("bench", home=home)
    try:
        instance.up()
        instance.set_parameter("azure.extensions", "vector,azure_local_ai")
        tiny.write(instance.home.models / "tiny")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rounds = [
                [milliseconds(instance, folder, tables) for tables in (arguments.few, arguments.many)]
                for _ in range(arguments.rounds)
            ]
        for number, what in enumerate(("azpg apply", "azpg plan without changes")):
            ratios = [many[number] / few[number] for few, many in rounds]
            each = statistics.median(many[number] for _, many in rounds)
            out().print(
                f"{what}, a table of {arguments.many} / a table of {arguments.few}: {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}), target at most 1.2; {each:.0f} ms"
            )
    finally:
        remove_home(home)


if __name__ == "__main__":
    main()
