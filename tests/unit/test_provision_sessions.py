"""A session that has served many columns is another one: PostgreSQL keeps the plans of each in it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from azpg_provision.apply.reporter import Silent
from azpg_provision.apply.work import Work
from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import TargetUnreachable
from azpg_provision.plan.change import Action, Change, Kind
from azpg_provision.spec.model import Spec
from azpg_provision.target.target import Connection, Target
from azpg_provision.vectorize import connections

CHANGE = Change(Action.CREATE, Kind.COLUMN, "shop", "public.products.embedding")
COLUMN = VectorColumn(
    id=1,
    schema="public",
    table="products",
    column="embedding",
    keys=(Key("id", "bigint"),),
    text="title",
    model="tiny:v1",
    prefix="",
    dimensions=32,
    fingerprint=b"",
    sync=Sync.QUEUE,
)


class Opened:
    """A connection that answers nothing."""

    broken, autocommit, prepare_threshold = False, True, None

    def __init__(self) -> None:
        self.closed = False
        self.info = SimpleNamespace(server_version=180000)

    def execute(self, *_: object) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True


class Opener:
    """Opens them, and keeps those that it has opened."""

    def __init__(self) -> None:
        self.opened: list[Opened] = []
        self.full = False

    def __call__(self, *_: object) -> Connection:
        if self.full:
            raise TargetUnreachable("full")
        self.opened.append(Opened())
        return cast("Connection", self.opened[-1])

    @property
    def connect(self) -> Opener:
        return self

    def in_use(self) -> list[Opened]:
        return [one for one in self.opened if not one.closed]


def test_an_apply_renews_its_session_after_many_changes() -> None:
    opener = Opener()
    work = Work(cast("Target", opener), cast("Spec", None), Silent())
    for _ in range(120):
        with work.session(CHANGE) as connection:
            connection.execute("SELECT")
        assert len(opener.in_use()) == 1
    work.close()
    assert not opener.in_use()
    assert 1 < len(opener.opened) < 10


def test_an_apply_goes_on_with_its_session_where_the_server_is_full() -> None:
    opener = Opener()
    work = Work(cast("Target", opener), cast("Spec", None), Silent())
    for _ in range(120):
        with work.session(CHANGE) as connection:
            connection.execute("SELECT")
        opener.full = True
    assert len(opener.in_use()) == len(opener.opened) == 1
    opener.opened[0].broken = True
    with pytest.raises(TargetUnreachable), work.session(CHANGE):
        pass


def test_a_worker_renews_its_session_after_many_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    opener = Opener()
    monkeypatch.setattr(connections, "prepare", lambda *_: None)
    monkeypatch.setattr(connections, "bound", lambda *_: True)
    monkeypatch.setattr(connections.claims, "attend", lambda _: UUID(int=len(opener.opened)))
    session = connections.Session(cast("Any", opener))
    for number in range(120):
        column = replace(COLUMN, id=number)
        for _ in range(3):
            session.prepare(column)
            assert opener.in_use() == [session.connection]
            assert session.worker == UUID(int=len(opener.opened))
    assert 1 < len(opener.opened) < 10


def test_a_worker_keeps_its_session_for_one_column(monkeypatch: pytest.MonkeyPatch) -> None:
    opener = Opener()
    monkeypatch.setattr(connections, "prepare", lambda *_: None)
    monkeypatch.setattr(connections, "bound", lambda *_: True)
    monkeypatch.setattr(connections.claims, "attend", lambda _: UUID(int=0))
    session = connections.Session(cast("Any", opener))
    for _ in range(1000):
        session.prepare(COLUMN)
    assert len(opener.opened) == 1
