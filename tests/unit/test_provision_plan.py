"""The plan as a pure function of a spec and a state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_provision.column import Key, Sync, VectorColumn, fingerprint_of
from azpg_provision.errors import PlanRefused
from azpg_provision.index.definition import VectorIndex
from azpg_provision.live.model import LiveColumn, LiveDatabase, LiveExtension, LiveServer, LiveTable
from azpg_provision.plan.change import Action, Change, Kind
from azpg_provision.plan.plan import Draft, Plan
from azpg_provision.plan.planning import plan
from azpg_provision.plan.state import DatabaseState, State
from azpg_provision.spec.model import Spec
from azpg_provision.spec.reading import parse

MODEL = {"uri": "m:v1", "name": "m", "dimensions": 3, "digest": "d"}
EXTENSIONS = {
    name: LiveExtension("1.0", frozenset({"0.9", "1.0"}))
    for name in ("vector", "azure_local_ai", "age", "pg_trgm")
}
SERVER = LiveServer(
    name="here",
    manageable=True,
    version=180004,
    admin="admin",
    allowed=(),
    offered=frozenset({"vector", "azure_local_ai", "age", "pg_trgm"}),
    preload=("pg_cron",),
    preloadable=frozenset({"age", "pg_cron", "pgaudit"}),
    pending_restart=False,
    available=EXTENSIONS,
    databases={},
    roles=frozenset({"admin"}),
    members=frozenset(),
    settings=None,
    models=None,
)
TABLE = LiveTable(
    kind="r",
    partition=False,
    persistence="p",
    rows=1000,
    bytes=8192,
    owned=True,
    columns={"id": LiveColumn("bigint", True, False), "title": LiveColumn("text", False, False)},
    keys=(("id",),),
    primary=True,
)
COLUMN = VectorColumn(
    id=1,
    schema="public",
    table="t",
    column="e",
    keys=(Key("id", "bigint"),),
    text='("title")::text',
    model="m:v1",
    prefix="",
    dimensions=3,
    fingerprint=fingerprint_of(MODEL),
    sync=Sync.TRIGGER,
)


def spec(
    embedding: str = "", database: str = "", head: str = "", extensions: str = "vector, azure_local_ai"
) -> Spec:
    text = f"""\
version: 1
{head}
models: [{{uri: m:v1}}]
databases:
- name: d
  {database}
  extensions: [{extensions}]
  tables:
  - {{name: t, embeddings: [{{column: e, source: [title], model: "m:v1"{embedding}}}]}}
"""
    return parse(text.encode(), name="azpg.yaml", folder=Path())


def state(table: LiveTable = TABLE, **changes: Any) -> State:
    """A server where everything but the column is there."""
    installed = {name: replace(one, installed="1.0", schema="public") for name, one in EXTENSIONS.items()}
    live = LiveDatabase(extensions=installed, tables={("public", "t"): table})
    server = replace(
        SERVER,
        allowed=("vector", "azure_local_ai"),
        databases={"d": live},
        settings={},
        models={"m:v1": MODEL},
        **changes.pop("server", {}),
    )
    return State(server, {"d": DatabaseState(live=live, ledger=True, **changes)})


def done(column: VectorColumn = COLUMN, **changes: Any) -> State:
    """One where the column is there, too."""
    place = (column.schema, column.table, column.column)
    live = LiveColumn(f"vector({column.dimensions})", False, column.sync is Sync.GENERATED)
    table = replace(TABLE, columns={**TABLE.columns, "e": live})
    given = {"columns": {place: column}, "in_step": frozenset({place}), "pending": {place: 0}}
    return state(table, **(given | changes))


def planned(wanted: Spec, found: State) -> list[str]:
    return [str(change) for change in plan(wanted, found).changes]


def test_an_empty_server() -> None:
    with pytest.raises(PlanRefused, match=r"there is no table public.t in the database d, and no init file"):
        plan(spec(), State(SERVER))


def test_everything_but_the_column() -> None:
    assert planned(spec(), state()) == [
        "create column public.t.e in d",
        "create sync public.t.e in d",
        "update rows public.t.e in d",
    ]


def test_nothing_to_do() -> None:
    assert plan(spec(), done()) == Plan("here")


def test_changes_are_in_the_order_in_which_they_can_be_made() -> None:
    wanted = spec(extensions="vector, azure_local_ai, age", head="server: {settings: {spin_control: true}}")
    live = replace(SERVER, databases={"d": LiveDatabase(tables={("public", "t"): TABLE})})
    found = plan(wanted, State(live, {"d": DatabaseState(live=live.databases["d"])})).changes
    order = list(Kind)
    assert [order.index(change.kind) for change in found] == sorted(
        order.index(change.kind) for change in found
    )
    assert [change.kind for change in found][:5] == ["allowed_extension"] * 3 + [
        "preloaded_library",
        "restart",
    ]


def test_a_restart_that_an_earlier_apply_did_not_reach() -> None:
    server = {"preload": ("pg_cron", "age"), "pending_restart": True, "allowed": None}
    wanted = spec(extensions="vector, azure_local_ai, age")
    found = done()
    found = replace(found, server=replace(found.server, **server))
    assert planned(wanted, found) == ["update restart here"]
    assert plan(wanted, replace(found, server=replace(found.server, pending_restart=False))).changes == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"offered": frozenset({"vector"})}, "this server does not offer azure_local_ai, which was retired on 2025-03-21"),
        ({"available": {"vector": EXTENSIONS["vector"]}, "offered": None}, "which was retired on 2025-03-21"),
        ({"manageable": False, "allowed": ("pg_trgm",)}, "vector, azure_local_ai must be allow-listed, .* azure.extensions to pg_trgm,vector,azure_local_ai"),
    ],
)  # fmt: skip
def test_what_a_server_does_not_give(changes: dict[str, Any], said: str) -> None:
    found = done()
    with pytest.raises(PlanRefused, match=said):
        plan(spec(), replace(found, server=replace(found.server, **changes)))


def test_a_library_that_a_plain_connection_cannot_preload() -> None:
    found = done()
    server = replace(found.server, manageable=False, allowed=None)
    with pytest.raises(
        PlanRefused,
        match=r"age must be preloaded, .* set the server parameter shared_preload_libraries to pg_cron,age and restart",
    ):
        plan(spec(extensions="vector, azure_local_ai, age"), replace(found, server=server))


def test_a_library_that_cannot_be_preloaded_here() -> None:
    with pytest.raises(PlanRefused, match="here cannot preload timescaledb: leave it out"):
        plan(spec(head="server: {preload: [timescaledb]}"), done())


def test_an_extension_of_another_version() -> None:
    (change,) = plan(spec(extensions='{name: vector, version: "0.9"}, azure_local_ai'), done()).changes
    assert (change.action, change.before, change.after) == ("update", {"version": "1.0"}, {"version": "0.9"})


def test_a_table_of_another_role() -> None:
    with pytest.raises(
        PlanRefused, match=r"public.t belongs to another role: be a member of that, or change it"
    ):
        plan(spec(), state(replace(TABLE, owned=False)))


def test_another_model_under_the_same_uri_makes_every_row_anew() -> None:
    old = replace(COLUMN, fingerprint=bytes(32))
    assert planned(spec(), done(old)) == [
        "update column public.t.e in d",
        "update sync public.t.e in d",
        "update rows public.t.e in d",
    ]


def test_a_generated_column_of_another_text_is_replaced_if_it_is_ours() -> None:
    generated = replace(COLUMN, sync=Sync.GENERATED)
    wanted = spec(', sync: generated, prefix: "passage: "')
    with pytest.raises(PlanRefused, match="azpg did not make it and leaves it alone"):
        plan(wanted, done(generated))
    found = plan(wanted, done(generated, owned={("column", "public.t.e"): {}}))
    assert [str(change) for change in found.changes] == ["replace column public.t.e in d"]
    assert found.replaced == list(found.changes)
    with pytest.raises(PlanRefused, match="--allow-replace"):
        found.check(allow_restart=False, allow_replace=False)
    found.check(allow_restart=False, allow_replace=True)


def test_a_model_whose_dimensions_nobody_says() -> None:
    found = state()
    server = replace(found.server, models={"m:v1": {"uri": "m:v1"}})
    with pytest.raises(
        PlanRefused, match="the server does not say how many dimensions the model m:v1 has: say so with"
    ):
        plan(spec(), replace(found, server=server))
    (column, *_) = plan(spec(", dimensions: 3"), replace(found, server=server)).changes
    assert column.after["type"] == "vector(3)"


def test_dimensions_that_the_model_does_not_have() -> None:
    with pytest.raises(
        PlanRefused, match=r"public.t: e is to have 4 dimensions, and the model m:v1 has 3: use that"
    ):
        plan(spec(", dimensions: 4"), state())


def test_a_table_without_a_key() -> None:
    with pytest.raises(PlanRefused, match=r"public.t has no primary key, .*: add a primary key"):
        plan(spec(), state(replace(TABLE, keys=(), primary=False)))


def test_rows_wait() -> None:
    (change,) = plan(spec(), done(pending={("public", "t", "e"): 1})).changes
    assert (change.kind, change.note) == ("rows", "1 row")
    (change,) = plan(spec(), done(pending={("public", "t", "e"): None})).changes
    assert change.note == "about 1000 rows"


@pytest.mark.parametrize(
    ("embedding", "note"), [("sync: queue", "3 rows"), ("prefix: 'p: ', sync: queue", "about 1000 rows")]
)
def test_another_sync_embeds_only_the_rows_that_wait(embedding: str, note: str) -> None:
    changes = plan(spec(f", {embedding}"), done(pending={("public", "t", "e"): 3})).changes
    assert [(change.kind, change.note) for change in changes][-1] == ("rows", note)


def test_what_is_dropped_is_said() -> None:
    index = Change(Action.REPLACE, Kind.INDEX, "d", "public.t.e")
    column = Change(Action.REPLACE, Kind.COLUMN, "d", "public.t.f")
    with pytest.raises(
        PlanRefused,
        match=r"drops the index of public.t.e and builds another and "
        r"public.t.f with the vectors that there are and makes it anew: repeat it with --allow-replace",
    ):
        Plan("here", (index, column)).check(allow_restart=True, allow_replace=False)


def test_how_many_rows_is_no_difference_between_two_plans() -> None:
    first = plan(spec(), done(pending={("public", "t", "e"): 1}))
    second = plan(spec(), done(pending={("public", "t", "e"): 2}))
    assert first.changes == second.changes


def test_what_the_spec_does_not_name_is_a_note() -> None:
    other = replace(COLUMN, id=2, column="other")
    columns = {("public", "t", "e"): COLUMN, ("public", "t", "other"): other}
    found = plan(spec(), done(columns=columns))
    assert found.changes == ()
    assert found.notes == (
        "public.t.other in d is vectorized and not in the spec; it stays, and so does its sync.",
    )


def test_an_index_of_azpgs_that_the_spec_does_not_name_is_a_note() -> None:
    has = {"t_e_hnsw": VectorIndex(), "somebodys": VectorIndex(opclass="vector_l2_ops")}
    found = done(indexes={("public", "t", "e"): has}, owned={("index", "public.t_e_hnsw"): {}})
    note = "the index public.t_e_hnsw in d is azpg's and not in the spec; it stays: DROP INDEX, if nothing needs it."
    assert plan(spec(), found) == Plan("here", notes=(note,))
    other = spec(embedding=", index: {method: ivfflat, lists: 5}")
    assert plan(other, found).notes == (note,)
    assert [change.kind for change in plan(other, found).changes] == [Kind.INDEX]
    # The one that is wanted, and the one that will be replaced, are none.
    assert plan(spec(embedding=", index: {method: hnsw}"), found) == Plan("here")
    assert plan(spec(embedding=", index: {method: hnsw, m: 8}"), found).notes == ()


def test_another_name_of_a_registered_model_is_a_note() -> None:
    found = done()
    server = replace(found.server, models={"m:v1": MODEL | {"name": "other"}})
    assert plan(spec(), replace(found, server=server)).notes == (
        "m:v1 is registered as other, and a URI stays bound to its model for good: if m is another one, give it "
        "another URI, such as m:v2.",
    )


def test_refusals_are_said_together_and_once() -> None:
    draft = Draft()
    for number, reason in enumerate(["one", "two", "one"]):
        draft.refuse(reason, Kind.COLUMN, name=str(number))
    with pytest.raises(PlanRefused) as caught:
        draft.finish("here")
    assert str(caught.value) == "2 reasons why this cannot be planned: (1) one. (2) two."
    shown = draft.finish("here", refused=True)
    assert [one.name for one in shown.refused] == ["0", "1", "2"]
    with pytest.raises(PlanRefused, match="2 reasons"):
        shown.check(allow_restart=True, allow_replace=True)


def test_what_is_refused_of_the_server_is_no_part_of_a_plan() -> None:
    draft = Draft()
    draft.refuse("one", Kind.COLUMN, name="c")
    draft.refuse("all")
    with pytest.raises(PlanRefused) as caught:
        draft.finish("here", refused=True)
    assert caught.value.reasons == ("one.", "all.")


@given(st.lists(st.sampled_from(list(Kind)), max_size=20))
def test_the_order_is_by_kind_and_otherwise_as_found(kinds: list[Kind]) -> None:
    draft = Draft()
    for number, kind in enumerate(kinds):
        draft.add(Action.CREATE, kind, str(number))
    found = [(list(Kind).index(change.kind), int(change.name)) for change in draft.finish("here").changes]
    assert found == sorted(found)
    assert len(found) == len(kinds)


@given(
    st.sampled_from(list(Sync)),
    st.sampled_from(list(Sync)),
    st.sampled_from(["", "passage: "]),
    st.booleans(),
    st.booleans(),
)
def test_a_column_is_never_dropped_unless_it_is_ours(
    old: Sync, new: Sync, prefix: str, ours: bool, same: bool
) -> None:
    """Whatever was before: what is planned is refused, or replaces what azpg owns, or drops nothing."""
    column = replace(COLUMN, sync=old, prefix=prefix, fingerprint=COLUMN.fingerprint if same else bytes(32))
    found = done(column, owned={("column", "public.t.e"): {}} if ours else {})
    wanted = spec(f", sync: {new.value}")
    try:
        changes = plan(wanted, found).changes
    except PlanRefused:
        assert not ours
        return
    replaced = [change for change in changes if change.action is Action.REPLACE]
    assert not replaced or ours
    if (old, prefix, same) == (new, "", True):
        assert changes == ()


def test_a_change_says_what_it_is() -> None:
    change = Change(Action.CREATE, Kind.ALLOWED_EXTENSION, None, "vector", after=True)
    assert str(change) == "create allowed extension vector"
    assert str(Change(Action.UPDATE, Kind.ROWS, "My Shop", "a.b.c")) == 'update rows a.b.c in "My Shop"'
