"""What the ARM twin remembers: resources, operations, and who it is. One SQLite file, mode 0600.

Resources are kept as they are answered, with a second document beside each for what is never answered,
such as an account's keys.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from azpg_runtime.arm.address import Address
from azpg_runtime.errors import ArmError

_SCHEMA_VERSION = 1
_SCHEMA = """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE resources (
        key TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, private TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX resources_by_kind ON resources (kind, key);
    CREATE TABLE operations (
        id TEXT PRIMARY KEY, verb TEXT NOT NULL, resource TEXT NOT NULL, arguments TEXT NOT NULL,
        busy TEXT NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
        code TEXT, message TEXT
    ) WITHOUT ROWID;
"""

Json = dict[str, Any]


@dataclass(slots=True)
class Resource:
    """One stored resource.

    Attributes:
        body: what a GET answers.
        private: what it never answers.
    """

    body: Json
    private: Json = field(default_factory=dict)

    @property
    def address(self) -> Address:
        """Where it is, in the spelling it was made with."""
        return Address.parse(self.body["id"])

    @property
    def properties(self) -> Json:
        """The type's own part of the body."""
        found: Json = self.body.setdefault("properties", {})
        return found


class State:
    """The file. Every method may be called from any thread; each is one transaction.

    Raises `ArmError` for a file that is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._afterwards: list[tuple[Callable[[], object], Callable[[], object]]] = []
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            # An operation's arguments may hold a new password, until it is done.
            self._connection.execute("PRAGMA secure_delete = on")
            self._connection.execute("PRAGMA journal_mode = truncate")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
                )
            elif version != _SCHEMA_VERSION:
                raise ArmError(
                    f"{path} was written by another version of azpg.",
                    hint="`azpg arm down --delete` removes it, with the servers that the ARM twin made.",
                )
        except sqlite3.DatabaseError as error:
            raise ArmError(
                f"{path} is damaged: {error}.",
                hint="Restore it, or remove it to begin anew; `azpg status` names the servers there are.",
            ) from None

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction of several calls; nobody else reads or writes meanwhile.

        Inside another one, it is a part of that.
        """
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk or another reader may keep the COMMIT from being done, too. SQLite itself rolls
                # some of these back.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                for _, undone in self._taken_afterwards():
                    undone()
                raise
            for done, _ in self._taken_afterwards():
                done()

    def afterwards(self, done: Callable[[], object], undone: Callable[[], object]) -> None:
        """Calls `done` when the transaction that this thread is in is written, or `undone` when it is not."""
        assert self._connection.in_transaction
        self._afterwards.append((done, undone))

    def _taken_afterwards(self) -> list[tuple[Callable[[], object], Callable[[], object]]]:
        taken, self._afterwards = self._afterwards, []
        return taken

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For queries, which a disk that takes no more does not keep from being answered."""
        with self._lock:
            yield self._connection

    # Facts

    def fact(self, name: str, default: str | None = None) -> str:
        """A value that is made once and kept: `default`, or a new random id."""
        with self.reading() as connection:
            query = "SELECT value FROM facts WHERE name = ?"
            row = connection.execute(query, [name]).fetchone()
            if row is not None:
                return str(row[0])
        with self.changing() as connection:
            row = connection.execute(query, [name]).fetchone()
            if row is None:
                row = (default or str(uuid.uuid4()),)
                connection.execute("INSERT INTO facts VALUES (?, ?)", [name, *row])
            return str(row[0])

    # Resources

    def get(self, address: Address) -> Resource | None:
        """The resource at an address."""
        with self._lock:
            row = self._connection.execute(
                "SELECT body, private FROM resources WHERE key = ?", [address.key]
            ).fetchone()
        return None if row is None else _resource(row)

    def put(self, resource: Resource) -> None:
        """Adds or replaces a resource."""
        address = resource.address
        with self.changing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?)",
                [address.key, address.kind, json.dumps(resource.body), json.dumps(resource.private)],
            )

    def delete(self, address: Address) -> bool:
        """Removes a resource with all its parts and extensions. Returns whether it was there."""
        key = address.key
        with self.changing() as connection:
            found = connection.execute("DELETE FROM resources WHERE key = ?", [key]).rowcount
            connection.execute("DELETE FROM resources WHERE key > ? AND key < ?", [f"{key}/", f"{key}0"])
        return found > 0

    def all_of(self, kind: str, under: Address | None = None) -> list[Resource]:
        """Every resource of a kind (in lower case) below an address, by key."""
        key = "" if under is None else under.key
        with self._lock:
            rows = self._connection.execute(
                "SELECT body, private FROM resources WHERE kind = ? AND key > ? AND key < ? ORDER BY key",
                [kind, f"{key}/", f"{key}0"],
            ).fetchall()
        return [_resource(row) for row in rows]

    def below(self, address: Address) -> list[Resource]:
        """Every resource below an address, by key."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT body, private FROM resources WHERE key > ? AND key < ? ORDER BY key",
                [f"{address.key}/", f"{address.key}0"],
            ).fetchall()
        return [_resource(row) for row in rows]


def _resource(row: tuple[str, str]) -> Resource:
    return Resource(json.loads(row[0]), json.loads(row[1]))
