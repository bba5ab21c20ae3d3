"""``make chaos``, or ``python -m tests.chaos --seconds 300 --seed 1``: exit code 1 if an invariant is broken."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections import Counter
from typing import Any

from rich.table import Table
from rich.text import Text

from azpg.output import out, print_json, working
from azpg.process import end_in_order
from tests.chaos.load import percentile
from tests.chaos.run import Report, chaos


def main() -> None:
    """Runs, and says what came of it."""
    parser = argparse.ArgumentParser(prog="tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long load and faults last (300)")
    parser.add_argument("--seed", type=int, help="decides texts, operations and faults (any)")
    parser.add_argument("--json", action="store_true", help="print one object instead of tables")
    options = parser.parse_args()
    end_in_order()
    seed = random.SystemRandom().randrange(10_000) if options.seed is None else options.seed
    print(f"chaos for {options.seconds:g} s with seed {seed}", file=sys.stderr, flush=True)
    with working("Chaos") as status:
        report = chaos(options.seconds, seed, tell=status)
    if options.json:
        print_json(as_json(report))
    else:
        show(report)
    raise SystemExit(1 if report.broken else 0)


def as_json(report: Report) -> dict[str, Any]:
    """All of a report."""
    pulse = report.pulse
    return {
        "version": 1,
        "seed": report.seed,
        "seconds": report.seconds,
        "broken": report.broken,
        "rows": report.rows,
        "disk_full": report.no_disk or "tried",
        "faults": [{"at": round(one.at, 2), "name": one.name, "what": one.what} for one in report.faults],
        "operations": dict(pulse.good),
        "errors": dict(pulse.states),
        "late_ms": {
            what: {"n": len(late), "p50": _ms(late, 0.5), "p95": _ms(late, 0.95), "max": _ms(late, 1.0)}
            for what, late in sorted(pulse.late.items())
        },
        "silence_seconds": round(pulse.silence, 2),
        "up_seconds": [round(one, 2) for one in report.up],
        "invariants": [{"name": one.name, "held": one.held, "detail": one.detail} for one in report.verdicts],
    }


def show(report: Report) -> None:
    """The tables."""
    console, pulse = out(), report.pulse
    faults = Table("fault", "times", "of them without effect", title="Faults", title_justify="left")
    times = Counter(fault.name for fault in report.faults)
    idle = Counter(
        f.name for f in report.faults if f.what in {"did not run", "there was none", "the server was away"}
    )
    for name, count in sorted(times.items()):
        faults.add_row(name, str(count), str(idle[name]))
    if report.no_disk:
        faults.add_row("disk full", "-", f"not tried: {report.no_disk}")
    figures = Table("figure", "value", title="Figures", title_justify="left")
    figures.add_row("good operations", f"{sum(pulse.good.values()):,}")
    figures.add_row("", ", ".join(f"{name} {count:,}" for name, count in pulse.good.most_common()))
    figures.add_row("rows in the journals", f"{report.rows:,}")
    figures.add_row("errors", ", ".join(f"{name} {count:,}" for name, count in pulse.states.most_common()))
    for what, late in sorted(pulse.late.items()):
        said = f"n {len(late)}, p50 {_ms(late, 0.5)}, p95 {_ms(late, 0.95)}, max {_ms(late, 1.0)} ms after it was due"
        figures.add_row(what, said)
    figures.add_row("longest time without any success", f"{pulse.silence:.1f} s")
    if report.up:
        figures.add_row("azpg up", f"median {statistics.median(report.up):.1f} s, max {max(report.up):.1f} s")
    held = Table("invariant", "", "seen", title="Invariants", title_justify="left")
    for verdict in report.verdicts:
        word = "held" if verdict.held else "[bold red]BROKEN[/]"
        held.add_row(verdict.name, word, Text(verdict.detail))
    for table in (faults, figures, held):
        console.print(table)


def _ms(values: list[float], part: float) -> float:
    return round(1000 * percentile(values, part), 1)


if __name__ == "__main__":
    main()
