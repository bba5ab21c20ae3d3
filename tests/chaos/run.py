"""One run: load and faults for some time, then quiet, then the invariants."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.chaos import invariants
from tests.chaos.commands import beside, once
from tests.chaos.faults import HOST_MODULE, Fault, Nemesis
from tests.chaos.invariants import Run, Verdict
from tests.chaos.lines import Proxy
from tests.chaos.load import Pulse, Session
from tests.chaos.site import DATABASE, Site, made
from tests.integration.calls import family

SESSIONS = 32


@dataclass
class Report:
    """What came of a run."""

    seed: int
    seconds: float
    no_disk: str
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    up: list[float] = field(default_factory=list)
    pulse: Pulse = field(default_factory=Pulse)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        return not all(verdict.held for verdict in self.verdicts)


Tell = Callable[[str], None]


def chaos(seconds: float, seed: int, *, tell: Tell = lambda _: None) -> Report:
    """Runs load and faults for `seconds`; all of it is a few minutes longer at most, and leaves nothing."""
    with made(seed) as site:
        report = Report(seed, seconds, site.no_disk)
        run = loaded(site, seconds, seed, tell=tell)
        tell("looking at what is left")
        report.verdicts = invariants.after(run)
        report.rows = sum(len(session.journal.rows) for session in run.sessions)
        report.faults, report.up, report.pulse = run.nemesis.log, run.nemesis.up, run.pulse
        site.instance.down(delete=True)
        report.verdicts += invariants.afterwards(site)
    return report


def loaded(
    site: Site,
    seconds: float,
    seed: int,
    *,
    sessions: int = SESSIONS,
    faults: bool = True,
    tell: Tell = lambda _: None,
) -> Run:
    """Puts a site under load, with faults in it if wanted, and lets it come to rest."""
    first = once(site, "apply", str(site.spec(1)), "--yes")
    assert first.code == 0, first.said
    proxy = Proxy(site.instance.description.port)
    direct = site.instance.dsn(DATABASE, with_password=True, tcp=True)
    through = direct.replace(f":{site.instance.description.port}/", f":{proxy.port}/")
    stop, pulse = threading.Event(), Pulse()
    clients = [
        Session(site, pulse, number, seed, through if number % 2 else direct, stop)
        for number in range(1, sessions + 1)
    ]
    commands = beside(site, seed)
    nemesis = Nemesis(site, commands, proxy, seed)
    run = Run(site, pulse, clients, nemesis, [], [])
    try:
        for thread in (*clients, *commands):
            thread.start()
        if faults:
            nemesis.start()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            run.host_memory += _host_memory(site)
            tell(f"{left:.0f} s left, {sum(pulse.good.values()):,} operations, {len(nemesis.log)} faults")
            time.sleep(min(left, 1.0))  # nothing is waited for: this is how long the load lasts
    finally:
        nemesis.finish()
        run.host_memory += _host_memory(site)
        stop.set()
        for client in clients:
            client.join(60)
        tell("coming to rest")
        for command in reversed(commands):  # apply first: it waits for the others' locks
            command.finish()
        proxy.close()
    for client in clients:
        if client.is_alive():
            client.failure = client.failure or AssertionError(
                "its last statement did not end within 60 seconds"
            )
    run.ends = [end for command in commands for end in command.ends]
    spec = str(site.spec(1))
    run.final = [
        once(site, "apply", spec, "--yes", "--allow-replace"),
        once(site, "vectorize", spec),
        once(site, "worker", spec, "--once"),
        once(site, "drift", spec),
    ]
    return run


def _host_memory(site: Site) -> list[int]:
    found = []
    for process in family(site.home):
        with suppress(psutil.Error):
            words = process.cmdline()
            if HOST_MODULE in words and "--" not in words and process.pid != os.getpid():
                found.append(process.memory_info().rss)
    return found
