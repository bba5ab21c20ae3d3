"""Processes that start, ask and stop one server at the same time: nobody is refused what could be had.

By default a few loops of each; AZPG_LOOPS=50 makes them the two hundred that were asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.errors import InstanceError, InstanceNotFound
from azpg_runtime.home import Home
from azpg_runtime.postgres.description import Description, Wishes
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.system.locks import locked
from azpg_runtime.wait import wait_for
from tests.conftest import ROOT
from tests.integration.command_loops import STATES

LOOPS = int(os.environ.get("AZPG_LOOPS", "2"))
PROCESSES = 4
SECONDS = 120 + 60 * PROCESSES * LOOPS


def loop(home: Home, name: str, loops: int, *options: str) -> list[dict[str, Any]]:
    """Runs the processes to their ends, and returns all that they did, in the order of its beginning."""
    events: list[dict[str, Any]] = []
    with ExitStack() as stack:
        processes = []
        for number in range(PROCESSES):
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.integration.command_loops"),
                    *(str(home.root), name, str(loops), "--turn", str(number), *options),
                ],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        said: dict[int, tuple[str, str]] = {}

        def finish(process: subprocess.Popen[str]) -> None:
            said[process.pid] = process.communicate("go\n", timeout=SECONDS)

        threads = [threading.Thread(target=finish, args=[process]) for process in processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for process in processes:
            out, err = said.get(process.pid, ("", "it did not end"))
            events += [json.loads(line) for line in out.splitlines()]
            assert process.returncode == 0, f"after {len(events)} events: {err}"
    return sorted(events, key=lambda event: event["began"])


def untrue(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a process was told although no other process was about to make it true.

    Whoever has started the server is to find it running, unless somebody else stops it meanwhile; whoever has
    stopped it is to find it stopped, unless somebody else starts it. Others count from the moment at which
    its own command began: what they did may have come after that command's work and before its end.
    """
    found, own = [], dict.fromkeys({event["by"] for event in events}, ("", 0.0))
    for event in events:
        what, by, came = event["what"], event["by"], event["came"].split(":")[0]
        last, since = own[by]
        others = {
            one["what"]
            for one in events
            if one["by"] != by and one["began"] < event["ended"] and one["ended"] > since
        }
        if what in {"up", "down"}:
            own[by] = (what, event["began"])
        elif last == "up":
            good = came in {"answered", "running"} or "down" in others
        else:
            good = came in {"absent", "stopped"} or "up" in others
        if what in {"ask", "status"} and not good:
            found.append({**event, "last": last, "others": sorted(others)})
    return found


@pytest.mark.timeout(SECONDS + 60)
def test_processes_that_start_and_stop_one_server_are_refused_nothing(home: Home) -> None:
    events = loop(home, "shared", LOOPS)
    counts = Counter((event["what"], event["came"].split(":")[0]) for event in events)
    print(*sorted(counts.items()), sep="\n")
    assert Counter(event["what"] for event in events)["up"] == PROCESSES * LOOPS
    assert {came for what, came in counts if what == "status"} <= STATES
    assert not (wrong := untrue(events)), json.dumps(wrong, indent=2)
    instance = Instance("shared", home=home)
    assert instance.down() is False, "everybody has stopped it"
    assert instance.status().state == "stopped"


@pytest.mark.timeout(SECONDS + 60)
def test_processes_that_make_and_delete_one_server_are_refused_nothing(home: Home) -> None:
    events = loop(home, "brief", max(1, LOOPS // 2), "--delete")
    print(
        *sorted(Counter((event["what"], event["came"].split(":")[0]) for event in events).items()), sep="\n"
    )
    assert not (wrong := untrue(events)), json.dumps(wrong, indent=2)
    assert home.instance_names() == []
    assert not [entry.name for entry in (home.root / "instances").iterdir()]


def test_a_server_that_is_shutting_down_has_a_status(home: Home) -> None:
    """It refuses new sessions and waits for those that it has; `azpg status` beside `azpg down` meets the like."""
    instance = Instance("ending", home=home)
    instance.up()

    def refuses() -> bool:
        try:
            instance.connect().close()
        except psycopg.OperationalError as error:
            return "shutting down" in str(error)
        return False

    with instance.connect() as staying:
        pid = instance.status().postgres_pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        assert wait_for(refuses, timeout=60)
        status = instance.status()
        assert (status.postgres_pid, status.pending_restart) == (pid, [])
        staying.execute("SELECT 1")


def test_a_server_that_is_deleted_while_somebody_asks_for_it_is_gone_and_not_damaged(home: Home) -> None:
    instance = Instance("leaving", home=home)
    description = Description.new("leaving", Wishes(), os_user="azpg")
    instance.home.root.mkdir(parents=True)
    description.save(instance.home.description)
    with pytest.raises(InstanceError, match=r"the server's files in .* are missing or damaged"):
        instance._cluster(description)
    shutil.rmtree(instance.home.root)
    with pytest.raises(InstanceNotFound, match="there is no instance 'leaving'"):
        instance._cluster(description)


# The ARM twin


def waits_for(lock: Path) -> bool:
    """Whether somebody waits for a lock."""
    inode = f":{lock.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_deletion_of_the_arm_twin_waits_for_a_start(home: Home) -> None:
    """Else it would remove the folder under it."""
    twin, lock, said = ArmTwin(home), home.root / "locks" / "arm-twin", list[str]()
    with locked(lock):
        twin.files.root.mkdir()
        twin.files.state.touch()
        stopping = threading.Thread(target=twin.stop, kwargs={"delete": True, "say": said.append})
        stopping.start()
        assert wait_for(lambda: waits_for(lock) or not stopping.is_alive(), timeout=60)
        assert twin.files.state.exists()
    stopping.join()
    assert not twin.files.root.exists()
    assert said == ["Waiting for another azpg command on the ARM twin"]


def test_a_start_of_the_arm_twin_that_waits_for_a_deletion_makes_the_folder_anew(home: Home) -> None:
    twin, lock = ArmTwin(home), home.root / "locks" / "arm-twin"
    failures: list[BaseException] = []

    def start() -> None:
        try:
            twin.start()
        except BaseException as error:
            failures.append(error)

    try:
        with locked(lock):
            starting = threading.Thread(target=start)
            starting.start()
            assert wait_for(lambda: waits_for(lock) or not starting.is_alive(), timeout=60)
            if twin.files.root.exists():
                twin.files.root.rmdir()
        starting.join()
        assert failures == []
        assert twin.status().state == "running"
    finally:
        twin.stop(delete=True)
