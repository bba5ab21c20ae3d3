"""Operations that take longer than a request: started, polled, and taken up again after a crash.

An operation is a verb with arguments, kept in the state file. What a verb does can be repeated, so an
operation that the twin's death interrupted is done again from its beginning at the next start. While one
runs on a server or account, another on the same one is refused.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from azpg.failures import explain
from azpg_runtime.arm.address import Address
from azpg_runtime.arm.operation import Operation
from azpg_runtime.arm.state import Json, State
from azpg_runtime.errors import ArmRefusal

log = logging.getLogger(__name__)

RETRY_HEADERS = {"retry-after-ms": "25"}
"""How soon to ask again. Azure says seconds; a local server is quicker."""
_WORKERS = 8
_KEPT = timedelta(days=7)

Work = Callable[[Address, Json], None]


class _Interrupted(Exception):
    """The process ends: the next one does the operation again."""


@dataclass(frozen=True, slots=True)
class _Task:
    """An operation that is to be done; `key` is what it keeps busy, or nothing."""

    id: str
    verb: str
    resource: Address
    arguments: Json
    key: str


class Operations:
    """All operations of the twin.

    Args:
        state: where they are kept.
        before: called in the operation's own thread before its work; it may take its time, or refuse.
    """

    def __init__(self, state: State, *, before: Callable[[Address], None] = lambda _: None) -> None:
        self._state = state
        self._before = before
        self._verbs: dict[str, Work] = {}
        self._undo: dict[str, Work] = {}
        self._busy: dict[str, str] = {}
        self._unwritten: dict[str, Json] = {}
        """How operations ended whose end the disk did not take: it is written with what is written next.

        Where nothing more is, the next process does them again.
        """
        self._lock = threading.Condition()
        self._closing = False
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="operation")
        # Who waits for others takes no worker from them: so there is always one that can go on.
        self._waiting_pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="waiting-operation")
        self._waiting: set[str] = set()

    def verb(self, name: str, work: Work, *, undo: Work | None = None, waits: bool = False) -> None:
        """Says what a verb does.

        Args:
            name: the verb.
            work: what it does, again if it must.
            undo: if it fails, how the state becomes right again.
            waits: whether it is one of those that wait for others, by `holding`; these do not wait for it.
        """
        self._verbs[name] = work
        if waits:
            self._waiting.add(name)
        if undo is not None:
            self._undo[name] = undo

    def start(
        self,
        verb: str,
        resource: Address,
        *,
        arguments: Json | None = None,
        busy: Address | None = None,
        refusal: Callable[[], ArmRefusal] | None = None,
        prepare: Callable[[], None] = lambda: None,
    ) -> Operation:
        """Starts an operation.

        Args:
            verb: what to do.
            resource: what to do it to.
            arguments: for the verb; forgotten when it is over.
            busy: what only one operation at a time may work on.
            refusal: the answer when one does already.
            prepare: done before anything is started, in the same transaction that notes the operation.

        Inside a transaction of the state it begins when that is written, and has never been if it is not.
        """
        key = "" if busy is None else busy.key
        found = Operation(str(uuid.uuid4()), resource, "InProgress", _now(), None, None, None)
        task = _Task(found.id, verb, resource, arguments or {}, key)
        with self._state.changing() as connection:
            if key:
                self._take(key, verb, refusal)
            self._state.afterwards(done=lambda: self._submit(task), undone=lambda: self._release(key))
            self._write_ends(connection)
            prepare()
            connection.execute(
                "INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                [
                    *(found.id, verb, str(resource), json.dumps(arguments or {})),
                    *(key, found.status, found.started),
                ],
            )
        return found

    def get(self, id_: str) -> Operation | None:
        """An operation by its id."""
        with self._state.reading() as connection:
            row = connection.execute(
                "SELECT id, resource, status, started, ended, code, message FROM operations WHERE id = ?",
                [id_],
            ).fetchone()
        if row is None:
            return None
        found = Operation(row[0], Address.parse(row[1]), *row[2:])
        return replace(found, **self._unwritten.get(id_, {}))

    def is_busy(self, address: Address) -> bool:
        """Whether an operation works on it."""
        return self.verb_on(address) is not None

    def verb_on(self, address: Address) -> str | None:
        """What the operation does that works on it."""
        with self._lock:
            return self._busy.get(address.key)

    @contextmanager
    def holding(self, address: Address, verb: str) -> Iterator[None]:
        """Waits until nothing works on a resource; inside the block, others find `verb` working on it.

        Raises `_Interrupted` when the process ends meanwhile.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._closing or address.key not in self._busy)
            if self._closing:
                raise _Interrupted
            self._busy[address.key] = verb
        try:
            yield
        finally:
            self._release(address.key)

    def resume(self) -> None:
        """Takes up what an earlier process did not finish, and forgets what was over long ago."""
        with self._state.changing() as connection:
            connection.execute("DELETE FROM operations WHERE ended < ?", [_at(datetime.now(UTC) - _KEPT)])
            rows = connection.execute(
                "SELECT id, verb, resource, arguments, busy FROM operations WHERE status = 'InProgress' "
                "ORDER BY started"
            ).fetchall()
        # On one resource there is one at a time, but an azpg that ended in a bad moment could leave two.
        chains: dict[str, list[_Task]] = {}
        for id_, verb, resource, arguments, key in rows:
            task = _Task(id_, verb, Address.parse(resource), json.loads(arguments), key)
            chains.setdefault(key or id_, []).append(task)
        self._busy.update({key: chain[0].verb for key, chain in chains.items() if chain[0].key})
        for chain in chains.values():
            self._submit(*chain)

    def close(self) -> None:
        """Waits for what runs; what has not begun, or waits for that, is left for the next process."""
        pools = (self._waiting_pool, self._pool)
        with self._lock:
            self._closing = True
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            self._lock.notify_all()
        for pool in pools:
            pool.shutdown(wait=True)

    def _submit(self, *chain: _Task) -> None:
        """Has operations done, one after the other."""
        waits = any(task.verb in self._waiting for task in chain)
        with self._lock:
            if not self._closing:
                (self._waiting_pool if waits else self._pool).submit(self._run_all, chain)

    def _take(self, key: str, verb: str, refusal: Callable[[], ArmRefusal] | None) -> None:
        with self._lock:
            if key in self._busy:
                raise refusal() if refusal else ArmRefusal(409, "Conflict", f"{key} is busy.")
            self._busy[key] = verb

    def _release(self, key: str) -> None:
        with self._lock:
            self._busy.pop(key, None)
            self._lock.notify_all()

    def _run_all(self, chain: tuple[_Task, ...]) -> None:
        for task in chain:
            with self._lock:
                if self._closing and task is not chain[0]:
                    return
                if task.key:
                    self._busy[task.key] = task.verb
            try:
                self._run(task, release=task is chain[-1])
            except _Interrupted:
                return

    def _run(self, task: _Task, *, release: bool) -> None:
        code = message = None
        try:
            self._before(task.resource)
            self._verbs[task.verb](task.resource, task.arguments)
        except _Interrupted:
            raise
        except Exception as error:
            code, message = _failure(error, task.verb, task.resource)
            self._undone(task)
        status = "Succeeded" if code is None else "Failed"
        end: Json = {"status": status, "ended": _now(), "code": code, "message": message}
        self._end(task.id, end, task.key if release else "")

    def _undone(self, task: _Task) -> None:
        if task.verb in self._undo:
            try:
                self._undo[task.verb](task.resource, task.arguments)
            except Exception:
                log.exception("could not undo %s of %s", task.verb, task.resource)

    def _end(self, id_: str, end: Json, key: str) -> None:
        """Writes how an operation ended, and then lets others at its resource, but never before.

        A process that ended in between would leave two to be done on one resource at the same time. Whoever
        sees the end may begin the next one at once: the state is not read until both are done.
        """
        try:
            with self._state.changing() as connection:
                self._write_ends(connection, {id_: end})
                self._state.afterwards(done=lambda: self._release(key), undone=lambda: None)
        except sqlite3.Error:
            log.exception("could not write how operation %s ended", id_)
            with self._lock:
                self._unwritten[id_] = end
                self._release(key)

    def _write_ends(self, connection: sqlite3.Connection, ends: dict[str, Json] | None = None) -> None:
        """Writes how operations ended, in the transaction that there is: these, and those that are left."""
        with self._lock:
            late = dict(self._unwritten)
        connection.executemany(
            "UPDATE operations SET status = :status, ended = :ended, code = :code, message = :message, "
            "arguments = '{}' WHERE id = :id",
            [{**end, "id": id_} for id_, end in (late | (ends or {})).items()],
        )
        self._state.afterwards(done=lambda: self._forget(late), undone=lambda: None)

    def _forget(self, late: dict[str, Json]) -> None:
        with self._lock:
            for id_ in late:
                self._unwritten.pop(id_, None)


def _failure(error: Exception, verb: str, resource: Address) -> tuple[str, str]:
    if isinstance(error, ArmRefusal):
        return error.code, str(error)
    said = explain(error)
    if said is None:
        log.error("%s of %s failed", verb, resource, exc_info=error)
    else:
        log.warning("%s of %s failed: %s", verb, resource, said)
    return "InternalServerError", said or "An unexpected error occurred; see `azpg arm logs`."


def _now() -> str:
    return _at(datetime.now(UTC))


def _at(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
