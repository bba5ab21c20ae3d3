"""Long-running operations: one at a time on a resource, kept, taken up again."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.operation import Operation
from azpg_runtime.arm.operations import Operations
from azpg_runtime.arm.state import Json, Resource, State
from azpg_runtime.errors import ArmError, ArmRefusal, InstanceError
from azpg_runtime.wait import wait_for

THING = Address.parse("/subscriptions/S/providers/Microsoft.X/things/t")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path / "state.sqlite")
    yield state
    state.close()


@pytest.fixture
def operations(state: State) -> Iterator[Operations]:
    operations = Operations(state)
    yield operations
    operations.close()


def ended(operations: Operations, operation: Operation) -> Operation:
    def over() -> bool:
        found = operations.get(operation.id)
        return found is not None and found.status != "InProgress"

    assert wait_for(over, timeout=30)
    found = operations.get(operation.id)
    assert found is not None
    return found


def test_an_operation_does_its_verb(operations: Operations) -> None:
    done: list[tuple[Address, Json]] = []
    operations.verb("do", lambda address, arguments: done.append((address, arguments)))
    found = ended(operations, operations.start("do", THING, arguments={"a": 1}))
    assert (found.status, found.resource, done) == ("Succeeded", THING, [(THING, {"a": 1})])
    body = found.as_json("/p")
    assert (body["id"], body["status"], "error" in body) == ("/p", "Succeeded", False)


def test_one_at_a_time(operations: Operations) -> None:
    release = threading.Event()
    operations.verb("do", lambda *_: (release.wait(30), None)[1])
    first = operations.start("do", THING, busy=THING)
    try:
        assert operations.is_busy(THING)
        with pytest.raises(ArmRefusal, match="later"):
            operations.start(
                "do", THING, busy=THING, refusal=lambda: ArmRefusal(409, "ServerIsBusy", "later")
            )
        other = Address.parse("/subscriptions/S/providers/Microsoft.X/things/u")
        second = operations.start("do", other, busy=other)
    finally:
        release.set()
    for one in (first, second):
        assert ended(operations, one).status == "Succeeded"
    assert not operations.is_busy(THING), "whoever sees the end may begin the next"


def test_holding_waits_and_keeps_others_away(operations: Operations) -> None:
    release, held = threading.Event(), threading.Event()
    operations.verb("do", lambda *_: (release.wait(30), None)[1])
    first = operations.start("do", THING, busy=THING)
    assert operations.verb_on(THING) == "do"

    def hold() -> None:
        with operations.holding(THING, "remove"):
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert not held.is_set()
    release.set()
    assert held.wait(30)
    holder.join(30)
    assert ended(operations, first).status == "Succeeded"
    release.clear()
    holder = threading.Thread(target=hold)
    held.clear()
    holder.start()
    assert held.wait(30)
    assert operations.verb_on(THING) == "remove"
    with pytest.raises(ArmRefusal):
        operations.start("do", THING, busy=THING)
    release.set()
    holder.join(30)
    assert operations.verb_on(THING) is None


def test_what_is_prepared_and_refused_is_as_it_was(operations: Operations, state: State) -> None:
    operations.verb("do", lambda *_: None)

    def prepare() -> None:
        state.put(Resource({"id": str(THING), "properties": {}}))
        raise ArmRefusal(400, "No", "no")

    with pytest.raises(ArmRefusal):
        operations.start("do", THING, busy=THING, prepare=prepare)
    assert state.get(THING) is None
    assert not operations.is_busy(THING)


def test_what_begins_in_a_transaction_ends_with_it(operations: Operations, state: State) -> None:
    """Nothing of it is done before it is written, and nothing when it is not."""
    done = threading.Event()
    operations.verb("do", lambda *_: done.set())

    def start_and_fail() -> None:
        with state.changing():
            begun.append(operations.start("do", THING, busy=THING))
            raise KeyError

    begun: list[Operation] = []
    with pytest.raises(KeyError):
        start_and_fail()
    assert operations.get(begun[0].id) is None
    assert not operations.is_busy(THING)
    with state.changing():
        kept = operations.start("do", THING, busy=THING)
        assert not done.is_set()
    assert ended(operations, kept).status == "Succeeded"
    assert done.is_set()


def test_who_waits_is_left_for_the_next_process(state: State) -> None:
    """Also for one that has not begun, and now will not."""
    release, interrupted = threading.Event(), threading.Event()
    earlier = Operations(state)
    earlier.verb("do", lambda *_: (release.wait(30), None)[1])

    def remove(address: Address, _: Json) -> None:
        try:
            with earlier.holding(address.child("parts", "p"), "remove"):
                state.delete(address)
        finally:
            interrupted.set()

    earlier.verb("remove", remove, waits=True)
    for number in range(8):
        earlier.start("do", Address.parse(f"/subscriptions/S/providers/Microsoft.X/things/{number}"))
    part = THING.child("parts", "p")
    queued = earlier.start("do", part, busy=part)
    waiting = earlier.start("remove", THING, busy=THING)
    closing = threading.Thread(target=earlier.close)
    closing.start()
    assert interrupted.wait(30)
    release.set()
    closing.join(30)
    assert not closing.is_alive()
    for one in (queued, waiting):
        found = earlier.get(one.id)
        assert found is not None
        assert found.status == "InProgress"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ArmRefusal(400, "Wrong", "it is wrong"), "Wrong", "it is wrong"),
        (InstanceError("it broke.", hint="Mend it."), "InternalServerError", "it broke. Mend it."),
        (RuntimeError("secret"), "InternalServerError", "An unexpected error occurred; see `azpg arm logs`."),
    ],
)
def test_a_failure_is_said_and_undone(
    operations: Operations, error: Exception, code: str, message: str
) -> None:
    undone: list[Address] = []

    def work(address: Address, arguments: Json) -> None:
        raise error

    operations.verb("do", work, undo=lambda address, _: undone.append(address))
    found = ended(operations, operations.start("do", THING))
    assert (found.status, found.code, found.message, undone) == ("Failed", code, message, [THING])
    assert found.as_json("")["error"] == {"code": code, "message": message}


def test_what_was_interrupted_is_done_again(state: State, tmp_path: Path) -> None:
    stuck = threading.Event()
    earlier = Operations(state)
    earlier.verb("do", lambda *_: (stuck.wait(30), None)[1])
    operation = earlier.start("do", THING, arguments={"password": "hidden-word"}, busy=THING)
    # The process that did it ended here: another one finds the same file.
    done: list[Json] = []
    later_state = State(tmp_path / "state.sqlite")
    later = Operations(later_state)
    later.verb("do", lambda _, arguments: done.append(arguments))
    later.resume()
    assert ended(later, operation).status == "Succeeded"
    assert done == [{"password": "hidden-word"}]
    assert b"hidden-word" not in (tmp_path / "state.sqlite").read_bytes()
    later.close()
    later_state.close()
    stuck.set()
    earlier.close()


def test_a_slow_start_holds_the_resource(state: State) -> None:
    begun, release = threading.Event(), threading.Event()

    def before(_: Address) -> None:
        begun.set()
        release.wait(30)

    operations = Operations(state, before=before)
    operations.verb("do", lambda *_: None)
    first = operations.start("do", THING, busy=THING)
    assert begun.wait(30)
    with pytest.raises(ArmRefusal):
        operations.start("do", THING, busy=THING)
    release.set()
    assert ended(operations, first).status == "Succeeded"
    operations.close()


def test_the_state_finds_what_lies_below(state: State) -> None:
    ids = [
        f"/subscriptions/S/resourceGroups/G{tail}"
        for tail in ("", "/providers/X/a/1", "/providers/X/a/1/b/2", "x/providers/X/a/1")
    ]
    for one in ids:
        state.put(Resource({"id": one, "properties": {}}, {"secret": one}))
    group = Address.parse(ids[0].upper())
    found = state.get(group)
    assert found is not None
    assert (found.body["id"], found.private) == (ids[0], {"secret": ids[0]})
    assert [one.body["id"] for one in state.below(group)] == ids[1:3]
    assert [one.body["id"] for one in state.all_of("x/a", group)] == ids[1:2]
    assert len(state.all_of("x/a")) == 2
    assert state.delete(group)
    assert not state.delete(group)
    assert [one.body["id"] for one in state.all_of("x/a")] == ids[3:]


def test_facts_are_made_once(state: State) -> None:
    assert state.fact("subscription") == state.fact("subscription") != state.fact("tenant")


def test_a_file_of_another_version(tmp_path: Path) -> None:
    state = State(tmp_path / "state.sqlite")
    with state.changing() as connection:
        connection.execute("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(ArmError, match="written by another version of azpg"):
        State(tmp_path / "state.sqlite")


@contextmanager
def somebody_reads(path: Path, state: State) -> Iterator[None]:
    """Another program holds the file, which keeps every COMMIT from being done."""
    with state.changing() as connection:
        connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT * FROM facts").fetchall()
    try:
        yield
    finally:
        other.close()


def test_a_change_that_could_not_be_written_is_none(state: State, tmp_path: Path) -> None:
    thing = Resource({"id": str(THING), "name": "t", "type": "Microsoft.X/things"})
    with somebody_reads(tmp_path / "state.sqlite", state), pytest.raises(sqlite3.OperationalError):
        state.put(thing)
    assert state.get(THING) is None
    state.put(thing)
    state.close()
    again = State(tmp_path / "state.sqlite")
    assert again.get(THING) == thing, "the next change was written"
    again.close()


def test_an_end_that_could_not_be_written_is_seen(
    state: State, operations: Operations, tmp_path: Path
) -> None:
    release = threading.Event()
    operations.verb("do", lambda *_: (release.wait(30), None)[1])
    found = operations.start("do", THING, busy=THING)
    with somebody_reads(tmp_path / "state.sqlite", state):
        release.set()
        assert ended(operations, found).status == "Succeeded"
    assert not operations.is_busy(THING)


DIES_BETWEEN = """
import os, signal, sys, threading
from pathlib import Path

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.operations import Operations
from azpg_runtime.arm.state import State
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.wait import wait_for

state, thing, release = State(Path(sys.argv[1])), Address.parse(sys.argv[2]), threading.Event()
operations = Operations(state)
operations.verb("create", lambda *_: release.wait(30))
operations.verb("delete", lambda *_: None)
operations.start("create", thing, busy=thing)
with state.changing():  # nobody else writes meanwhile: not how the first one ended either
    release.set()
    wait_for(lambda: not operations.is_busy(thing), timeout=2)
    try:
        operations.start("delete", thing, busy=thing)
    except ArmRefusal:
        pass
    state.afterwards(done=lambda: os.kill(os.getpid(), signal.SIGKILL), undone=lambda: None)
"""


def test_two_that_exclude_each_other_are_never_left_by_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    dead = subprocess.run(
        [sys.executable, "-c", DIES_BETWEEN, str(path), str(THING)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    state = State(path)
    with state.reading() as connection:
        left = connection.execute("SELECT verb FROM operations WHERE status = 'InProgress'").fetchall()
    state.close()
    assert left == [("create",)]


def test_of_an_end_that_could_not_be_written_the_next_start_takes_care(
    state: State, operations: Operations, tmp_path: Path
) -> None:
    """Or a crash would leave both of them to be done at once."""
    release = threading.Event()
    operations.verb("do", lambda *_: (release.wait(30), None)[1])
    first = operations.start("do", THING, busy=THING)
    with somebody_reads(tmp_path / "state.sqlite", state):
        release.set()
        assert ended(operations, first).status == "Succeeded"
    release.clear()
    second = operations.start("do", THING, busy=THING)
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as other:
        rows = dict(other.execute("SELECT id, status FROM operations").fetchall())
    assert rows == {first.id: "Succeeded", second.id: "InProgress"}
    release.set()
    assert ended(operations, second).status == "Succeeded"


def test_two_on_one_resource_are_taken_up_one_after_the_other(state: State) -> None:
    """An earlier azpg could leave them so."""
    insert = "INSERT INTO operations VALUES (?, ?, ?, '{}', ?, 'InProgress', ?, NULL, NULL, NULL)"
    with state.changing() as connection:
        for number, verb in enumerate(("create", "delete")):
            connection.execute(insert, [verb, verb, str(THING), THING.key, f"2026-01-01T00:00:0{number}Z"])
    operations = Operations(state)
    begun: list[str | None] = []
    release = threading.Event()

    def work(_: Address, __: Json) -> None:
        begun.append(operations.verb_on(THING))
        release.wait(30)

    for verb in ("create", "delete"):
        operations.verb(verb, work)
    operations.resume()
    assert wait_for(lambda: bool(begun), timeout=30)
    with pytest.raises(ArmRefusal):
        operations.start("create", THING, busy=THING)
    assert begun == ["create"]
    release.set()
    assert wait_for(lambda: not operations.is_busy(THING), timeout=30)
    assert begun == ["create", "delete"]
    operations.close()
