"""A URI stands for one content, for good, whatever happens to the process."""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from azpg_runtime.errors import ModelConflict, ModelInvalid, ModelNotFound, ModelUnreadable, Unwritable
from azpg_runtime.models import Registry
from azpg_runtime.models.registry import normalise_uri

A, B = "a" * 64, "b" * 64


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "host" / "registry.json")


def test_register_and_get(registry: Registry) -> None:
    made = registry.register("tiny", A)
    assert (made.id, made.uri, made.digest, made.registered) == (1, "tiny:v1", A, True)
    assert registry.get("tiny") == registry.get("tiny:v1") == made
    assert registry.list() == [made]


def test_it_is_on_disk(registry: Registry) -> None:
    registry.register("tiny", A)
    registry.register("other", B)
    registry.unregister("tiny")
    again = Registry(registry.path)
    assert again.list() == registry.list()
    assert again.digests() == {A, B}
    assert [entry.name for entry in registry.path.parent.iterdir()] == ["registry.json"]


def test_the_same_again(registry: Registry) -> None:
    assert registry.register("tiny", A) == registry.register("tiny:v1", A)
    assert registry.register("other", A).id == 2


def test_other_content_is_refused_for_good(registry: Registry) -> None:
    registry.register("tiny", A)
    for change in (lambda: None, lambda: registry.unregister("tiny")):
        change()
        for attempt in (registry.register, registry.check, Registry(registry.path).register):
            with pytest.raises(ModelConflict, match="already bound to other content") as caught:
                attempt("tiny", B)
            assert caught.value.sqlstate == "42710"
            assert "tiny:v2" in caught.value.hint
    assert registry.register("tiny:v2", B).id == 2


def test_unregister_and_register_again(registry: Registry) -> None:
    first = registry.register("tiny", A)
    assert registry.unregister("tiny") == first
    with pytest.raises(ModelNotFound):
        registry.get("tiny")
    with pytest.raises(ModelNotFound):
        registry.unregister("tiny")
    registry.check("tiny", A)
    assert registry.register("tiny", A).id == first.id
    assert registry.get("tiny").registered


def test_not_found_lists_what_is_registered(registry: Registry) -> None:
    with pytest.raises(ModelNotFound, match="No model is registered"):
        registry.get("tiny")
    registry.register("one", A)
    registry.register("two:v3", B)
    registry.register("gone", B)
    registry.unregister("gone")
    with pytest.raises(ModelNotFound) as caught:
        registry.get("tiny")
    assert caught.value.message == 'model "tiny:v1" is not registered'
    assert caught.value.hint == "Registered models are: one:v1, two:v3."
    assert caught.value.sqlstate == "42704"


@pytest.mark.parametrize(
    "uri", ["", ":", "a:", ":v1", "a:b:c", "a b", "a/b", "é", "-a", "a:-", "a\n", "a" * 64]
)
def test_what_is_no_uri(registry: Registry, uri: str) -> None:
    for attempt in (registry.get, registry.unregister, lambda uri: registry.register(uri, A)):
        with pytest.raises(ModelInvalid, match="is not a model URI"):
            attempt(uri)


def test_what_is_no_digest(registry: Registry) -> None:
    with pytest.raises(ModelInvalid, match="is not a digest"):
        registry.register("tiny", "A" * 64)


@given(uri=st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}\Z"))
def test_a_name_means_its_first_version(uri: str) -> None:
    assert normalise_uri(uri) == f"{uri}:v1"
    assert normalise_uri(f"{uri}:v1") == f"{uri}:v1"


GOOD = {"id": 1, "uri": "a:v1", "digest": A, "registered": True, "registered_at": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"version": 2, "registrations": []},
        {"version": 1},
        {"version": 1, "registrations": [3]},
        {"version": 1, "registrations": [{**GOOD, "id": 0}]},
        {"version": 1, "registrations": [{**GOOD, "id": True}]},
        {"version": 1, "registrations": [{**GOOD, "digest": "x"}]},
        {"version": 1, "registrations": [{**GOOD, "uri": "a"}]},
        {"version": 1, "registrations": [{**GOOD, "registered": 1}]},
        {"version": 1, "registrations": [{**GOOD, "more": 1}]},
        {"version": 1, "registrations": [GOOD, GOOD]},
        {"version": 1, "registrations": [GOOD, {**GOOD, "uri": "b:v1"}]},
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, document: object) -> None:
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ModelInvalid, match="is damaged") as caught:
        Registry(path)
    assert str(path) in caught.value.message


def test_a_torn_file_is_named(registry: Registry) -> None:
    registry.register("tiny", A)
    whole = registry.path.read_bytes()
    for size in range(len(whole) - 2):
        registry.path.write_bytes(whole[:size])
        with pytest.raises(ModelInvalid, match="is damaged"):
            Registry(registry.path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable):
        Registry(tmp_path)


def test_a_failed_write_changes_nothing(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register("tiny", A)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("azpg_runtime.models.registry.write_atomically", full)
    with pytest.raises(Unwritable, match="No space"):
        registry.register("other", B)
    with pytest.raises(Unwritable, match="No space"):
        registry.unregister("tiny")
    assert [one.uri for one in registry.list()] == ["tiny:v1"]


def test_threads_get_ids_of_their_own(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda at: registry.register(f"model{at}", A), range(24)))
    assert sorted(one.id for one in made) == list(range(1, 25))
    assert Registry(registry.path).list() == registry.list()


class Machine(RuleBasedStateMachine):
    """Against a plain dictionary, with a restart at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "registry.json"
        self.registry = Registry(self.path)
        self.bound: dict[str, tuple[int, str]] = {}
        self.live: set[str] = set()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(name=st.sampled_from("xyz"), digest=st.sampled_from([A, B]))
    def register(self, name: str, digest: str) -> None:
        uri = f"{name}:v1"
        if self.bound.get(uri, (0, digest))[1] != digest:
            with pytest.raises(ModelConflict):
                self.registry.register(name, digest)
            return
        made = self.registry.register(name, digest)
        assert made.id == self.bound.setdefault(uri, (len(self.bound) + 1, digest))[0]
        self.live.add(uri)

    @rule(name=st.sampled_from("xyz"))
    def unregister(self, name: str) -> None:
        uri = f"{name}:v1"
        if uri in self.live:
            self.registry.unregister(name)
            self.live.discard(uri)
        else:
            with pytest.raises(ModelNotFound):
                self.registry.unregister(name)

    @rule()
    def restart(self) -> None:
        self.registry = Registry(self.path)

    @invariant()
    def agrees(self) -> None:
        assert {one.uri: (one.id, one.digest) for one in self.registry.list()} == {
            uri: self.bound[uri] for uri in self.live
        }


TestMachine = Machine.TestCase
