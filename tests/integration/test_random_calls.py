"""Random calls of the whole SQL surface, with a model of what they should give; nothing may leak.

`AZPG_CALLS` is how many calls are made, 1,500 by default.
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from azpg_runtime.embedding import Embedder
from azpg_runtime.models import ModelStore, StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI as LARGE
from tests.integration.calls import (
    LONG,
    NO_TIMEOUT,
    PATIENCE,
    Connection,
    computes_nothing,
    family,
    hang_up,
    host_status,
    new_twin,
    running,
)
from tests.unit import tiny

CALLS = int(os.environ.get("AZPG_CALLS") or 1500)
STEPS = 50
"""Calls from one clean start to the next."""

ENDS = ("cancel", "terminate", "leave", "timeout")
"""How long calls end, in turn."""

BETWEEN_KILLS = 500
"""Calls; a host that keeps dying is started ever later."""

TEXTS = ["", "the", "a passage of the", "日本語", "query: aaa bab, ab.", "the " * 100, "e\u0301 \U0001f600 ٣"]
CONTENT = {"one": 1, "two": 2}
"""Two models by name, and the seeds of their weights."""

BOUND = {"a:v1": "one", "b:v1": "two", "c:v2": "one"}
"""URIs, and the model that each is bound to for good."""

DEFAULTS = {"inter_op_parallelism": "1", "spin_control": "false"}
SPELLED = {"on": "true", "true": "true", "1": "true", "off": "false", "false": "false", "0": "false"}

texts = st.one_of(st.none(), st.sampled_from(TEXTS))
sessions = st.integers(0, 2)
uris = st.sampled_from([*BOUND, "a", "nothing:v1", "no uri!"])
keys = st.sampled_from(["inter_op_parallelism", "spin_control", "colour"])
values = st.sampled_from(["1", "2", "0", "on", "false", "perhaps", ""])


@dataclass
class Sample:
    """What two processes hold while nothing is under way: the host and a backend that lives all the time."""

    host: int
    host_memory: int
    host_files: int
    backend_memory: int
    backend_sockets: int
    backend_files: int


@dataclass
class World:
    """What outlives a sequence of calls: the twin, its sessions, what was seen."""

    twin: Instance
    vectors: dict[tuple[str, str], npt.NDArray[np.float32]]
    sessions: list[Connection] = field(default_factory=list)
    calls: int = 0
    kills: int = 0
    ends: int = 0
    next_kill: int = BETWEEN_KILLS // 2
    samples: list[Sample] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def connect(self) -> Connection:
        return self.twin.connect(autocommit=True)

    def own_files(self, backend: psutil.Process) -> int:
        """Descriptors of a backend but for the tables that PostgreSQL keeps open, each of them once."""
        found = descriptors(backend)
        tables = [what for what in found if what.startswith(str(self.twin.home.data))]
        assert len(tables) == len(set(tables)), tables
        return len(found) - len(tables)

    def sample(self) -> None:
        """Looks at the processes, each session having its one connection to the host."""
        for session in self.sessions:
            session.execute("SELECT azure_local_ai.get_setting()")
        host = psutil.Process(host_status(self.twin)["pid"])
        backend = psutil.Process(self.sessions[0].info.backend_pid)
        assert wait_for(lambda: connections(host) == len(self.sessions), timeout=PATIENCE), (
            "the host keeps connections of sessions that are gone"
        )
        status = host_status(self.twin)
        assert status["waiting"] == 0
        self.samples.append(
            Sample(
                host.pid,
                host.memory_info().rss,
                host.num_fds(),
                backend.memory_full_info().uss,
                sockets(backend),
                self.own_files(backend),
            )
        )


def descriptors(process: psutil.Process) -> list[str]:
    """What a process has open: a path, or a kind and number."""
    found = []
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(str(entry.readlink()))
    return found


def sockets(process: psutil.Process) -> int:
    """Open sockets of a process."""
    return sum(what.startswith("socket:") for what in descriptors(process))


def connections(host: psutil.Process) -> int:
    """Connections that the host has open: its sockets but the listening one and asyncio's own pair."""
    return sockets(host) - 3


@pytest.fixture(scope="module")
def world(minilm: StoredModel) -> Iterator[World]:
    with new_twin() as twin:
        vectors: dict[tuple[str, str], npt.NDArray[np.float32]] = {}
        store = ModelStore(twin.home.home.models)
        for name, seed in CONTENT.items():
            store.add(name, tiny.write(twin.home.models / name, tiny.files(seed=seed)))
            for text, vector in zip(TEXTS, Embedder(store.get(name)).embed(TEXTS), strict=True):
                vectors[name, text] = vector
        world = World(twin, vectors)
        world.sessions = [world.connect() for _ in range(3)]
        for uri, name in BOUND.items():
            world.sessions[0].execute("SELECT azure_local_ai.model_register(%s, %s)", [uri, name])
        try:
            yield world
        finally:
            for session in world.sessions:
                session.close()
        twin.down()
        assert family(twin.home.home) == []


Step = Callable[..., None]


def step(**arguments: Any) -> Callable[[Step], Step]:
    """A rule that does nothing any more when there were calls enough: hypothesis bounds only examples."""

    def decorate(function: Step) -> Step:
        @functools.wraps(function)
        def guarded(self: Calls, **values: Any) -> None:
            if self.world.calls < CALLS:
                function(self, **values)

        decorated: Step = rule(**arguments)(guarded)
        return decorated

    return decorate


class Calls(RuleBasedStateMachine):
    """Each rule is a call and what has to come of it."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.registered: dict[str, str] = {}
        self.loaded: dict[str, bool] = {}
        """By model, where it is certain."""
        self.settings = dict(DEFAULTS)

    @initialize()
    def begin(self) -> None:
        if self.world.calls >= CALLS:
            return
        for uri in BOUND:
            with contextlib.suppress(psycopg.errors.UndefinedObject):
                self.world.sessions[1].execute("SELECT azure_local_ai.model_unregister(%s)", [uri])
        self.world.sessions[1].execute(
            "SELECT azure_local_ai.set_setting(%s::text[], %s::text[])",
            [list(DEFAULTS), list(DEFAULTS.values())],
        )

    def teardown(self) -> None:
        if self.world.calls < CALLS:
            self.world.sample()

    # Calling

    def call(self, session: int, query: str, *parameters: object) -> list[Any] | str:
        """The rows, or the SQLSTATE; every error names the function and says something."""
        self.world.calls += 1
        try:
            rows: list[Any] = self.world.sessions[session].execute(query, parameters).fetchall()
        except psycopg.Error as failure:
            error = failure
        else:
            return rows
        assert (error.diag.message_primary or "").startswith("azure_local_ai."), error
        assert error.sqlstate is not None
        self.world.seen.add(error.sqlstate)
        return error.sqlstate

    def known(self, uri: str) -> str | None:
        """The SQLSTATE that a URI meets, or None."""
        if "!" in uri:
            return "22023"
        return None if self.full(uri) in self.registered else "42704"

    @staticmethod
    def full(uri: str) -> str:
        return uri if ":" in uri else f"{uri}:v1"

    def same(self, uri: str, text: str | None, found: list[float] | None) -> bool:
        if text is None or found is None:
            return text is None and found is None
        expected = self.world.vectors[self.registered[self.full(uri)], text]
        return bool(np.abs(np.array(found) - expected).max() < 1e-5)

    # Embeddings

    @step(session=sessions, uri=uris, text=texts)
    def embed(self, session: int, uri: str, text: str | None) -> None:
        found = self.call(session, "SELECT azure_local_ai.create_embeddings(%s, %s::text)", uri, text)
        if text is None:
            assert found == [(None,)]
        elif (state := self.known(uri)) is not None:
            assert found == state
        else:
            assert self.same(uri, text, found[0][0])
            self.loaded[self.registered[self.full(uri)]] = True

    @step(
        session=sessions, uri=uris, many=st.lists(texts, max_size=6), batch_size=st.sampled_from([1, 2, 128])
    )
    def embed_array(self, session: int, uri: str, many: list[str | None], batch_size: int) -> None:
        query = (
            "SELECT embedding FROM azure_local_ai.create_embeddings(%s, %s::text[], batch_size => %s::bigint)"
        )
        found = self.call(session, query, uri, many, batch_size)
        if not any(text is not None for text in many):
            assert found == [(None,)] * len(many)
        elif (state := self.known(uri)) is not None:
            assert found == state
        else:
            assert len(found) == len(many)
            assert all(self.same(uri, text, row[0]) for text, row in zip(many, found, strict=True))
            self.loaded[self.registered[self.full(uri)]] = True

    @step(
        session=sessions,
        uri=st.sampled_from([*BOUND]),
        many=st.lists(texts, max_size=4),
        missing=st.booleans(),
    )
    def embed_with_ids(self, session: int, uri: str, many: list[str | None], missing: bool) -> None:
        ids = list(range(len(many) + missing))
        query = "SELECT id, embedding FROM azure_local_ai.create_embeddings(%s, %s::text[], %s::int[])"
        found = self.call(session, query, uri, many, ids)
        if missing:
            assert found == "22023"
        elif not any(text is not None for text in many):
            assert found == [(number, None) for number in ids]
        elif (state := self.known(uri)) is not None:
            assert found == state
        else:
            assert [row[0] for row in found] == ids
            assert all(self.same(uri, text, row[1]) for text, row in zip(many, found, strict=True))
            self.loaded[self.registered[self.full(uri)]] = True

    @step(
        session=sessions,
        uri=st.sampled_from([*BOUND]),
        argument=st.sampled_from(["batch_size", "timeout_ms"]),
    )
    def embed_with_a_bad_argument(self, session: int, uri: str, argument: str) -> None:
        query = f"SELECT * FROM azure_local_ai.create_embeddings(%s, ARRAY['the'], {argument} => 0)"
        assert self.call(session, query, uri) == "22023"

    @step(session=sessions, uri=st.sampled_from([*BOUND]), text=st.sampled_from(TEXTS))
    def embed_in_a_millisecond(self, session: int, uri: str, text: str) -> None:
        query = "SELECT azure_local_ai.create_embeddings(%s, %s, timeout_ms => 1)"
        found = self.call(session, query, uri, text)
        if found != "57014":
            state = self.known(uri)
            assert found == state if state is not None else self.same(uri, text, found[0][0])
        if uri in self.registered:
            self.loaded.pop(self.registered[uri], None)

    @step(session=sessions, uri=uris, text=st.sampled_from(TEXTS))
    def embed_in_a_savepoint(self, session: int, uri: str, text: str) -> None:
        """An error undoes what is in the savepoint, and no more."""
        connection = self.world.sessions[session]
        found: Any = None
        with connection.transaction():
            connection.execute("CREATE TEMPORARY TABLE kept (n integer) ON COMMIT DROP")
            with contextlib.suppress(psycopg.Rollback), connection.transaction() as inner:
                found = self.call(session, "SELECT azure_local_ai.create_embeddings(%s, %s)", uri, text)
                if isinstance(found, str):
                    raise psycopg.Rollback(inner)
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        if (state := self.known(uri)) is not None:
            assert found == state
        else:
            assert self.same(uri, text, found[0][0])
            self.loaded[self.registered[self.full(uri)]] = True

    # Models

    @step(
        session=sessions,
        uri=uris,
        path=st.sampled_from([*CONTENT, "one/", "missing", "../x", "one/tokenizer.json"]),
    )
    def register(self, session: int, uri: str, path: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.model_register(%s, %s)", uri, path)
        full, name = self.full(uri), path.rstrip("/")
        if name not in CONTENT:
            assert found in {"42704", "58P01", "22023"}
        elif full not in BOUND:
            # It stays unknown to the model; what it is bound to is what was first registered.
            if "!" in uri:
                assert found == "22023"
            elif found != "42710":
                self.call(session, "SELECT azure_local_ai.model_unregister(%s)", uri)
        elif BOUND[full] != name:
            assert found == "42710"
        else:
            assert isinstance(found, list)
            assert isinstance(found[0][0], int)
            self.registered[full] = name
            self.loaded[name] = True

    @step(session=sessions, uri=uris)
    def unregister(self, session: int, uri: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.model_unregister(%s)", uri)
        if (state := self.known(uri)) is not None:
            assert found == state
            return
        name = self.registered.pop(self.full(uri))
        if name not in self.registered.values():
            self.loaded[name] = False

    @step(session=sessions, uri=uris)
    def unload(self, session: int, uri: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.model_unload(%s)", uri)
        if (state := self.known(uri)) is not None:
            assert found == state
        else:
            self.loaded[self.registered[self.full(uri)]] = False

    @step(session=sessions, uri=uris)
    def ask_whether_loaded(self, session: int, uri: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.model_loaded(%s)", uri)
        if (state := self.known(uri)) is not None:
            assert found == state
        else:
            expected = self.loaded.get(self.registered[self.full(uri)])
            assert expected is None or found == [(expected,)]

    @step(session=sessions, uri=uris)
    def ask_for_metadata(self, session: int, uri: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.model_metadata(%s)", uri)
        if (state := self.known(uri)) is not None:
            assert found == state
        else:
            assert (found[0][0]["uri"], found[0][0]["dimensions"]) == (self.full(uri), tiny.HIDDEN)

    # Settings

    @step(session=sessions, key=keys)
    def get_setting(self, session: int, key: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.get_setting(%s)", key)
        assert found == ([(self.settings[key],)] if key in self.settings else "22023")

    @step(session=sessions, some=st.lists(keys, max_size=3))
    def get_settings(self, session: int, some: list[str]) -> None:
        found = self.call(session, "SELECT azure_local_ai.get_setting(%s::text[])", some)
        if "colour" in some:
            assert found == "22023"
        else:
            shown = {key: value for key, value in found[0][0].items() if key in self.settings}
            assert shown == {key: self.settings[key] for key in (some or self.settings)}

    @staticmethod
    def changed(pairs: list[tuple[str, str]]) -> dict[str, str] | None:
        """What the settings become, or None for a change that is refused."""
        new = {}
        for key, value in pairs:
            if key == "inter_op_parallelism" and value in {"1", "2"}:
                new[key] = value
            elif key == "spin_control" and value in SPELLED:
                new[key] = SPELLED[value]
            else:
                return None
        return new

    @step(session=sessions, key=keys, value=values)
    def set_setting(self, session: int, key: str, value: str) -> None:
        found = self.call(session, "SELECT azure_local_ai.set_setting(%s, %s)", key, value)
        new = self.changed([(key, value)])
        assert (found == "22023") == (new is None)
        self.settings |= new or {}

    @step(session=sessions, pairs=st.lists(st.tuples(keys, values), max_size=3), odd=st.booleans())
    def set_settings(self, session: int, pairs: list[tuple[str, str]], odd: bool) -> None:
        names, given = [key for key, _ in pairs], [value for _, value in pairs]
        query = "SELECT azure_local_ai.set_setting(%s::text[], %s::text[])"
        found = self.call(session, query, names, [*given, "on"] if odd else given)
        new = None if odd else self.changed(pairs)
        assert (found == "22023") == (new is None)
        self.settings |= new or {}

    # Ends

    # What hypothesis draws must not depend on what it does not know, so these have no precondition.

    @step(now=st.integers(1, 3))
    def end_a_long_call(self, now: int) -> None:
        world = self.world
        if now > 1:
            return
        how = ENDS[world.ends % len(ENDS)]
        world.ends += 1
        world.calls += 1
        world.seen.add(how)
        with running(world.twin, LONG, (LARGE, 100 if how == "timeout" else NO_TIMEOUT)) as call:
            if how != "timeout":
                call.computing()
            if how == "cancel":
                call.connection.cancel_safe()
            elif how == "terminate":
                pid = call.connection.info.backend_pid
                world.sessions[0].execute("SELECT pg_terminate_backend(%s)", [pid])
            elif how == "leave":
                hang_up(call.connection)
            states = {"cancel": "57014", "timeout": "57014", "terminate": "57P01", "leave": None}
            assert call.error().sqlstate == states[how]
        # Changes of settings load anew what is loaded.
        world.sessions[0].execute("SELECT azure_local_ai.model_unload(%s)", [LARGE])

    @step(session=st.integers(1, 2))
    def begin_a_session(self, session: int) -> None:
        self.world.sessions[session].close()
        self.world.sessions[session] = self.world.connect()

    @step()
    def kill_the_host(self) -> None:
        world = self.world
        if world.calls < world.next_kill:
            return
        world.calls += 1
        world.kills += 1
        world.next_kill = world.calls + BETWEEN_KILLS
        host = psutil.Process(host_status(world.twin)["pid"])
        host.kill()
        assert wait_for(lambda: not psutil.pid_exists(host.pid), timeout=PATIENCE)
        self.loaded.clear()  # they are being loaded
        assert wait_for(
            lambda: all(model["loaded"] for model in host_status(world.twin)["models"]), timeout=PATIENCE
        )


@pytest.mark.timeout(300 + CALLS)
def test_random_calls_leave_nothing_behind(world: World) -> None:
    class Machine(Calls):
        pass

    Machine.world = world
    while world.calls < CALLS:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Machine,
            settings=settings(
                max_examples=10 + CALLS // STEPS,
                stateful_step_count=STEPS,
                derandomize=True,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate],  # to find the shortest failure would take very long
            ),
        )
    assert wait_for(lambda: computes_nothing(world.twin), timeout=PATIENCE)
    first, last = world.samples[0], world.samples[-1]
    print(
        f"{world.calls} calls, {world.kills} kills, {world.ends} long calls, {len(world.samples)} samples\n{first}\n{last}"
    )
    assert world.kills
    assert {"22023", "42704", "42710", "58P01", "cancel", "terminate", "leave", "timeout"} <= world.seen
    check(world.samples)


def check(samples: list[Sample]) -> None:
    """Nothing grows: not in the backend, nor in the host that lived longest."""
    for one, other in halves([sample.backend_memory for sample in samples]):
        assert other < 1.03 * one + 1_000_000, (one, other)
    assert len({sample.backend_sockets for sample in samples}) == 1
    assert len({sample.backend_files for sample in samples}) == 1
    by_host: dict[int, list[Sample]] = {}
    for sample in samples:
        by_host.setdefault(sample.host, []).append(sample)
    longest = [sample.host_memory for sample in max(by_host.values(), key=len)]
    settled = longest[len(longest) // 4 :]
    middle = len(settled) // 2
    if middle > 1:  # what a run takes for a moment comes and goes, so that only the most of it tells
        most, later = max(settled[:middle]), statistics.median(settled[middle:])
        assert later < 1.05 * most + 8_000_000, longest
    for found in by_host.values():
        files = [sample.host_files for sample in found]
        assert max(files) - min(files) <= 2, files


def halves(sizes: list[int]) -> list[tuple[float, float]]:
    """The middle of what comes first and of what comes last, of all but the first quarter, which warms up."""
    settled = sizes[len(sizes) // 4 :]
    if len(settled) < 4:
        return []
    middle = len(settled) // 2
    return [(statistics.median(settled[:middle]), statistics.median(settled[middle:]))]
