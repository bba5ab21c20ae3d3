"""One of several processes that start, ask and stop the same server all the time: ``python -m`` this.

Prints a JSON object for each thing that it did: what, by which process, from when to when on CLOCK_MONOTONIC,
and what came of it. What is wrong by itself ends it with an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg

from azpg_runtime.errors import InstanceNotFound, InstanceNotRunning
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.system.locks import locked

STATES = {"running", "degraded", "stopped"}
EVERY = 4
"""One loop of so many runs the commands as a person does, as processes of their own."""


class Commands:
    """The commands in this process."""

    def __init__(self, home: Home, name: str) -> None:
        self.instance = Instance(name, home=home)

    def up(self) -> str:
        return "started" if self.instance.up() else "ran"

    def down(self, *, delete: bool = False) -> str:
        return "stopped" if self.instance.down(delete=delete) else "was down"

    def status(self) -> str:
        return self.instance.status().state


class CommandLine(Commands):
    """The commands as processes of their own."""

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "azpg", *arguments]
        environment = {**os.environ, "AZPG_HOME": str(self.instance.home.home.root)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if "there is no instance" in done.stderr and "Traceback" not in done.stderr:
            raise InstanceNotFound(done.stderr)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(self) -> str:
        said = json.loads(self._run("up", self.instance.name, "--json"))
        return str(said["state"])

    def down(self, *, delete: bool = False) -> str:
        deleting = ["--delete", "--yes"] if delete else []
        said = json.loads(self._run("down", self.instance.name, *deleting, "--json"))
        return "stopped" if said["ran"] else "was down"

    def status(self) -> str:
        self._run("status")
        return str(json.loads(self._run("status", self.instance.name, "--json"))["state"])


def hold(instance: Instance) -> str:
    """How the server is while nobody else can change that: then nothing may be half, and no word untrue."""
    with locked(instance.home.home.root / "locks" / f"{instance.name}.lock"):
        try:
            state = instance.status().state
        except InstanceNotFound:
            assert not instance.home.description.exists()
            return "absent"
        assert state in {"running", "stopped"}, f"{state}: {instance.status()}"
        try:
            with instance.connect(connect_timeout=60) as connection:
                connection.execute("SELECT 1")
        except InstanceNotRunning:
            assert state == "stopped", "it runs, and was said not to"
        else:
            assert state == "running"
        assert instance.status().state == state
        return state


def ask(instance: Instance) -> str:
    """What a client meets at any moment: an answer, or a server that is not, not yet or no longer there."""
    try:
        with instance.connect(connect_timeout=60) as connection:
            connection.execute("SELECT 1")
    except InstanceNotRunning:
        return "not running"
    except InstanceNotFound:
        return "absent"
    except psycopg.OperationalError as error:
        return f"refused: {error}"
    return "answered"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("name")
    parser.add_argument("loops", type=int)
    parser.add_argument("--turn", type=int, required=True, help="the first loop that is a person's")
    parser.add_argument("--delete", action="store_true")
    options = parser.parse_args()
    home = Home(options.home)
    instance = Instance(options.name, home=home)

    def note(what: str, do: Callable[[], str]) -> None:
        began = time.monotonic()
        came = do()
        ended = time.monotonic()
        event = {"what": what, "by": os.getpid(), "began": began, "ended": ended, "came": came}
        print(json.dumps(event), flush=True)

    def absent(do: Callable[[], str]) -> Callable[[], str]:
        def trying() -> str:
            try:
                return do()
            except InstanceNotFound:
                if not options.delete:
                    raise
                return "absent"

        return trying

    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(options.loops):
        by_line = number % EVERY == options.turn % EVERY
        commands = (CommandLine if by_line else Commands)(home, options.name)
        note("up", commands.up)
        note("ask", lambda: ask(instance))
        note("status", absent(commands.status))
        note("hold", lambda: hold(instance))
        note("down", absent(partial(commands.down, delete=options.delete)))
        note("status", absent(commands.status))


if __name__ == "__main__":
    main()
