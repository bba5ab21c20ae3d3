"""The models in memory: who is loaded, who has to go, who is refused, and what changes of settings do."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import ModelInvalid, ModelNotFound, ModelUnreadable, OutOfMemory, RuntimeTwinError
from azpg_runtime.host import loaded
from azpg_runtime.host.loaded import LoadedModels
from azpg_runtime.host.settings import HostSettings
from azpg_runtime.models import ModelStore, StoredModel

from . import tiny

NAMES = ["one", "two", "three", "four"]
ONE_THREAD = HostSettings().changed([("intra_op_parallelism", "1")])
TWO_THREADS = HostSettings().changed([("intra_op_parallelism", "2"), ("spin_control", "on")])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """Models of one size and other weights."""
    folder = tmp_path_factory.mktemp("loaded")
    store = ModelStore(folder / "store")
    for seed, name in enumerate(NAMES, 1):
        store.add(name, tiny.write(folder / name, tiny.files(seed=seed)))
    return store


@pytest.fixture(scope="module")
def digests(store: ModelStore) -> list[str]:
    return [store.get(name).digest for name in NAMES]


@pytest.fixture(scope="module")
def size(store: ModelStore) -> int:
    sizes = {store.get(name).memory for name in NAMES}
    assert max(sizes) - min(sizes) < 100, "descriptions differ by their names"
    return max(sizes)


Play = Callable[[LoadedModels], Coroutine[Any, Any, None]]


def run(store: ModelStore, limit: int, play: Play) -> None:
    """Plays on a loop of its own, and sees that nothing stays behind."""

    async def wrapped() -> None:
        models = LoadedModels(
            store,
            ONE_THREAD,
            limit=limit,
            name=lambda digest: next(name for name in NAMES if store.get(name).digest == digest),
        )
        try:
            await asyncio.wait_for(play(models), 60)
            for name in NAMES:
                models.unload(store.get(name).digest)
            while models.in_use:  # a load that nobody waits for any more
                await asyncio.sleep(0)
        finally:
            models.close()

    asyncio.run(wrapped())


async def load(models: LoadedModels, *digests: str) -> None:
    for digest in digests:
        async with models.use(digest):
            pass


def threads_of(embedder: Embedder) -> tuple[int, str]:
    options = embedder.session._session.get_session_options()
    return options.intra_op_num_threads, options.get_session_config_entry("session.intra_op.allow_spinning")


def test_all_who_ask_at_once_get_one_copy(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        async def ask() -> Embedder:
            async with models.use(digests[0]) as embedder:
                assert models.is_loaded(digests[0])
                return embedder

        found = await asyncio.gather(*(ask() for _ in range(10)))
        assert len(set(map(id, found))) == 1
        assert models.in_use == models.memory(digests[0]) == store.get("one").memory

    run(store, 10 * size, play)


def test_two_models_side_by_side(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        async with models.use(digests[0]) as one, models.use(digests[1]) as two:
            assert (one.model.digest, two.model.digest) == (digests[0], digests[1])
            assert models.in_use == sum(store.get(name).memory for name in ("one", "two"))
        assert models.is_loaded(digests[0])
        assert models.is_loaded(digests[1])

    run(store, 10 * size, play)


def test_the_one_that_was_used_longest_ago_makes_room(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[0], digests[1], digests[0])
        await load(models, digests[2])
        assert [models.is_loaded(digest) for digest in digests[:3]] == [True, False, True]
        await load(models, digests[1])
        assert [models.is_loaded(digest) for digest in digests[:3]] == [False, True, True]

    run(store, 2 * size, play)


def test_no_more_are_unloaded_than_must_be(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, *digests)
        assert [models.is_loaded(digest) for digest in digests] == [False, True, True, True]

    run(store, 3 * size, play)


def test_one_in_use_stays_although_it_was_used_longest_ago(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        async with models.use(digests[0]):
            await load(models, digests[1], digests[2])
            assert [models.is_loaded(digest) for digest in digests[:3]] == [True, False, True]

    run(store, 2 * size, play)


def test_when_none_is_idle_the_load_is_refused_with_the_numbers(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        async with models.use(digests[0]), models.use(digests[0]), models.use(digests[1]):
            with pytest.raises(OutOfMemory) as caught:
                await load(models, digests[2])
        error = caught.value
        assert error.sqlstate == "53200"
        needed = f"{store.get('three').memory / 1e6:,.0f} MB"
        assert error.message == f"model three needs {needed} of memory, which those in use do not leave"
        assert f"The limit for all models is {2 * size / 1e6:,.0f} MB; " in error.detail
        assert "In use: one (0 MB, 2 requests), two (0 MB, 1 request)." in error.detail
        assert error.hint == (
            "Repeat the call when fewer models are in use, or raise the limit: "
            "`azpg down`, then `azpg up --model-memory MB`."
        )
        assert models.is_loaded(digests[0])
        await load(models, digests[2])

    run(store, 2 * size, play)


def test_idle_models_are_not_unloaded_for_one_that_is_refused_all_the_same(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[1])
        async with models.use(digests[0]):
            models.limit = size + size // 2
            with pytest.raises(OutOfMemory):
                await load(models, digests[2])
            assert models.is_loaded(digests[1])
            models.limit = 2 * size

    run(store, 2 * size, play)


def test_a_model_larger_than_the_limit(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        with pytest.raises(OutOfMemory) as caught:
            await load(models, digests[0])
        assert caught.value.message == "model one needs 0 MB of memory; the limit for all models is 0 MB"
        assert caught.value.hint == "Raise the limit: `azpg down`, then `azpg up --model-memory MB`."
        assert models.in_use == 0

    run(store, size // 2, play)


def test_what_is_being_loaded_counts(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        first = asyncio.create_task(load(models, digests[0]))
        await asyncio.sleep(0)
        assert not models.is_loaded(digests[0])
        with pytest.raises(OutOfMemory, match="which those in use do not leave") as caught:
            await load(models, digests[1])
        assert "one (0 MB, being loaded)" in caught.value.detail
        await first
        await load(models, digests[1])

    run(store, size, play)


def test_a_model_that_is_unloaded_in_use_counts_until_its_last_request(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        async with models.use(digests[0]) as before:
            models.unload(digests[0])
            assert not models.is_loaded(digests[0])
            assert models.memory(digests[0]) == 0
            with pytest.raises(OutOfMemory):
                await load(models, digests[0])
            assert len(before.embed(["it goes on"])) == 1
        assert models.in_use == 0
        async with models.use(digests[0]) as after:
            assert after is not before

    run(store, size, play)


def test_memory_is_given_back_when_nobody_runs_the_model_any_more(
    store: ModelStore, digests: list[str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may outlive the request that it was for by a moment: what it needs is there as long. Nothing waits
    for Python to find out what is unused, so that an embedder that is kept somewhere keeps no memory.
    """
    alive: list[bool] = []

    async def play(models: LoadedModels) -> None:
        monkeypatch.setattr(loaded, "give_back", lambda: alive.append(session() is not None))
        async with models.use(digests[0]) as embedder:
            session = weakref.ref(embedder.session._session)
            releases = [models.keep(embedder) for _ in range(2)]
        models.unload(digests[0])
        assert models.in_use == 0, "no request needs it"
        await load(models, digests[1])  # on the thread that would have closed it
        assert len(embedder.embed(["it goes on"])) == 1
        releases[0]()
        await load(models, digests[2])
        assert len(embedder.embed(["it goes on"])) == 1
        assert alive == []
        await asyncio.to_thread(releases[1])
        while not alive:
            await asyncio.sleep(0)
        with pytest.raises(AssertionError, match="the session is closed"):
            embedder.embed(["it is over"])

    run(store, 3 * size, play)
    assert alive[0] is False


def test_a_run_that_failed_keeps_no_memory(store: ModelStore, digests: list[str], size: int) -> None:
    """Its error may be kept for long, with all that it refers to."""
    kept: list[Exception] = []

    async def play(models: LoadedModels) -> None:
        async with models.use(digests[0]) as embedder:
            session = weakref.ref(embedder.session._session)
            with pytest.raises(ModelInvalid, match="the model failed") as caught:
                embedder.session.run([np.array([1_000_000])])
            kept.append(caught.value)
        models.unload(digests[0])
        while session() is not None:
            await asyncio.sleep(0)

    gc.disable()
    try:
        run(store, size, play)
    finally:
        gc.enable()
    assert kept


def test_unloading_what_is_being_loaded(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        waiting = asyncio.create_task(load(models, digests[0]))
        await asyncio.sleep(0)
        models.unload(digests[0])
        assert models.in_use > 0
        await waiting
        assert models.in_use == 0
        models.unload(digests[0])

    run(store, size, play)


def test_who_gives_up_waiting_does_not_end_the_load(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        leaving = asyncio.create_task(load(models, digests[0]))
        staying = asyncio.create_task(load(models, digests[0]))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying
        assert leaving.cancelled()
        assert models.is_loaded(digests[0])

    run(store, size, play)


def test_a_load_that_fails_takes_no_room_and_is_tried_again(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "store")
    model = store.add("one", tiny.write(tmp_path / "source"))

    async def play(models: LoadedModels) -> None:
        hidden = model.folder.with_name("hidden")
        model.folder.rename(hidden)
        with pytest.raises(ModelNotFound):
            await load(models, model.digest)
        hidden.rename(model.folder)
        graph = model.onnx.with_name("hidden")
        model.onnx.rename(graph)
        for _ in range(2):
            with pytest.raises(ModelUnreadable):
                await load(models, model.digest)
            assert (models.in_use, models.is_loaded(model.digest)) == (0, False)
        graph.rename(model.onnx)
        await load(models, model.digest)
        assert models.is_loaded(model.digest)
        models.unload(model.digest)

    async def wrapped() -> None:
        models = LoadedModels(store, ONE_THREAD, limit=model.memory, name=str)
        try:
            await play(models)
        finally:
            models.close()

    asyncio.run(wrapped())


@pytest.mark.parametrize("failure", [MemoryError("no more"), OutOfMemory("no more")])
def test_a_load_for_which_the_system_has_no_memory(
    store: ModelStore, digests: list[str], size: int, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def play(models: LoadedModels) -> None:
        def fails(*_: object, **__: object) -> None:
            raise failure

        with monkeypatch.context() as patch:
            patch.setattr(Embedder, "__init__", fails)
            with pytest.raises(OutOfMemory) as caught:
                await load(models, digests[0])
        assert caught.value.message == "model one needs 0 MB, which the system does not give"
        assert caught.value.detail == "no more"
        assert caught.value.hint == "Unload other models with model_unload, or end other programs."
        assert models.in_use == 0
        await load(models, digests[0])

    run(store, size, play)


def test_a_load_that_the_system_would_refuse_is_not_begun(
    store: ModelStore, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = 1 << 60
    monkeypatch.setattr(StoredModel, "memory", property(lambda _: huge))

    async def play(models: LoadedModels) -> None:
        with pytest.raises(OutOfMemory) as caught:
            await load(models, digests[0])
        assert caught.value.detail == "the system refuses 1,152,921,504,607 MB: Cannot allocate memory"

    run(store, huge, play)


def test_loading_in_advance_ends_where_the_room_does(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        assert models.preload([digests[0], digests[0], "f" * 64, digests[1], digests[2]]) == [digests[2]]
        await load(models, digests[0], digests[1])
        assert [models.is_loaded(digest) for digest in digests[:3]] == [True, True, False]

    run(store, 2 * size, play)


# Settings


def test_changed_settings_reach_every_session(store: ModelStore, digests: list[str], size: int) -> None:
    async def play(models: LoadedModels) -> None:
        async with models.use(digests[0]) as before:
            await load(models, digests[1])
            async with models.changing(TWO_THREADS), models.use(digests[0]) as meanwhile:
                assert meanwhile is before
            assert models.is_loaded(digests[0])
            assert models.is_loaded(digests[1])
            for digest in digests[:3]:
                async with models.use(digest) as after:
                    assert threads_of(after) == (2, "1")
                    assert after.embed(["a"]).shape == (1, tiny.HIDDEN)
            assert threads_of(before) == (1, "0")
            assert before.embed(["it goes on"]).shape == (1, tiny.HIDDEN)
        assert models.in_use == sum(store.get(name).memory for name in NAMES[:3])

    run(store, 10 * size, play)


def test_a_change_that_fails_leaves_everything_as_it_was(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[0])
        with pytest.raises(OSError, match="disk"):
            async with models.changing(TWO_THREADS):
                raise OSError("disk")
        for digest in digests[:2]:
            async with models.use(digest) as after:
                assert threads_of(after) == (1, "0")
        assert models.in_use == sum(store.get(name).memory for name in NAMES[:2])

    run(store, 10 * size, play)


def test_settings_that_no_session_takes_leave_everything_as_it_was(
    store: ModelStore, digests: list[str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[0])

        def fails(*_: object, **__: object) -> None:
            raise OutOfMemory("no more")

        with monkeypatch.context() as patch:
            patch.setattr(Embedder, "with_threads", fails)
            with pytest.raises(OutOfMemory):
                async with models.changing(TWO_THREADS):
                    raise AssertionError("not reached")
        async with models.use(digests[0]) as after:
            assert threads_of(after) == (1, "0")
        assert models.in_use == store.get("one").memory

    run(store, 10 * size, play)


def test_a_change_that_is_given_up_leaves_everything_as_it_was(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[0])

        async def change() -> None:
            async with models.changing(TWO_THREADS):
                raise AssertionError("not reached")

        changing = asyncio.create_task(change())
        await asyncio.sleep(0)
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        async with models.use(digests[0]) as after:
            assert threads_of(after) == (1, "0")

    run(store, 10 * size, play)


def test_without_room_for_a_second_copy_the_next_request_loads_the_model_anew(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[0])
        async with models.changing(TWO_THREADS):
            assert models.is_loaded(digests[0])
        assert not models.is_loaded(digests[0])
        async with models.use(digests[0]) as after:
            assert threads_of(after) == (2, "1")

    run(store, size, play)


def test_a_model_whose_loading_began_with_the_old_settings(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        loading = asyncio.create_task(load(models, digests[0]))
        await asyncio.sleep(0)
        async with models.changing(TWO_THREADS):
            pass
        await loading
        async with models.use(digests[0]) as after:
            assert threads_of(after) == (2, "1")

    run(store, 10 * size, play)


def test_a_model_that_is_unloaded_while_the_settings_change_stays_unloaded(
    store: ModelStore, digests: list[str], size: int
) -> None:
    async def play(models: LoadedModels) -> None:
        await load(models, digests[0])
        async with models.changing(TWO_THREADS):
            models.unload(digests[0])
        assert not models.is_loaded(digests[0])
        assert models.in_use == 0

    run(store, 10 * size, play)


STEPS = st.lists(
    st.tuples(st.just("use"), st.integers(0, 3))
    | st.tuples(st.just("leave"), st.integers(0, 3))
    | st.tuples(st.just("unload"), st.integers(0, 3))
    | st.tuples(st.just("settings"), st.integers(0, 1)),
    max_size=12,
)


@settings(deadline=None, max_examples=30)
@given(steps=STEPS, copies=st.integers(1, 5))
def test_whatever_happens_the_limit_holds_and_nothing_is_left(
    store: ModelStore, digests: list[str], size: int, steps: list[tuple[str, int]], copies: int
) -> None:
    limit = copies * size

    async def play(models: LoadedModels) -> None:
        held: list[AsyncExitStack] = []

        async def step(what: str, which: int) -> None:
            match what:
                case "use":
                    stack = AsyncExitStack()
                    await stack.enter_async_context(models.use(digests[which]))
                    held.append(stack)
                case "leave" if held:
                    await held.pop(which % len(held)).aclose()
                case "unload":
                    models.unload(digests[which])
                case "settings":
                    async with models.changing((ONE_THREAD, TWO_THREADS)[which]):
                        assert models.in_use <= limit

        for what, which in steps:
            try:
                await step(what, which)
            except OutOfMemory:
                assert what == "use", "settings find a way"
            assert models.in_use <= limit
        for stack in held:
            await stack.aclose()

    run(store, limit, play)


def test_errors_of_a_load_are_errors_of_ours(tmp_path: Path) -> None:
    """Whatever lies in the store: the caller gets one line."""
    store = ModelStore(tmp_path / "store")
    model = store.add("one", tiny.write(tmp_path / "source"))
    shutil.copyfile(model.folder / "description.json", model.tokenizer)

    async def play() -> None:
        models = LoadedModels(store, ONE_THREAD, limit=model.memory, name=str)
        try:
            with pytest.raises(RuntimeTwinError, match="not a tokenizer"):
                await load(models, model.digest)
        finally:
            models.close()

    asyncio.run(play())
