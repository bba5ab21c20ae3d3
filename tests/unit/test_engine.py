"""The engine's thread: it runs what is asked for, stops what nobody waits for, and outlives every failure."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from azpg_runtime.embedding.batching import TOKEN_BUDGET, pack
from azpg_runtime.errors import EmbeddingCancelled, ModelInvalid, RuntimeTwinError
from azpg_runtime.host.engine import Engine
from azpg_runtime.host.scheduler import Job
from azpg_runtime.wait import wait_for

PATIENCE = 20.0
Ids = npt.NDArray[np.int32]


class Model:
    """Gives (first token, number of tokens) for a vector; held, it runs until it is let go or terminated.

    It fails with `failure`, always or, where `refused` is given, if a text begins with that token.
    """

    def __init__(
        self, *, held: bool = False, failure: Exception | None = None, refused: int | None = None
    ) -> None:
        self.session = self
        self.runs: list[int] = []
        self.failure = failure
        self.refused = refused
        self._free = threading.Event()
        self.running = threading.Event()
        self.terminated = threading.Event()
        if not held:
            self._free.set()

    def let_go(self) -> None:
        self._free.set()

    def run(self, ids: Sequence[Ids], *, terminate: onnxruntime.RunOptions) -> npt.NDArray[np.float32]:
        self.runs.append(len(ids))
        self.running.set()
        assert wait_for(lambda: self._free.is_set() or terminate.terminate, timeout=PATIENCE)
        self.running.clear()
        if terminate.terminate:
            self.terminated.set()
            raise EmbeddingCancelled("the embedding was cancelled")
        if self.failure is not None and (self.refused is None or any(one[0] == self.refused for one in ids)):
            raise self.failure
        return np.array([[one[0], len(one)] for one in ids], dtype=np.float32)


class Caller:
    """Waits for one job's outcome."""

    def __init__(self) -> None:
        self.matrix: npt.NDArray[np.float32] | None = None
        self.outcomes: list[Exception | None] = []

    def finish(self, failure: Exception | None) -> None:
        self.outcomes.append(failure)

    def outcome(self) -> Any:
        assert wait_for(lambda: bool(self.outcomes), timeout=PATIENCE)
        return self.matrix if self.outcomes[0] is None else self.outcomes[0]


def a_job(model: Model, lengths: Sequence[int], caller: Caller, *, token: int = 7) -> Job[Any]:
    caller.matrix = np.empty((len(lengths), 2), dtype=np.float32)
    return Job(
        model,
        [np.full(length, token + place, dtype=np.int32) for place, length in enumerate(lengths)],
        deque(pack(lengths)),
        caller.matrix,
        caller.finish,
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.stop()


def idle(engine: Engine, model: Model) -> None:
    """Returns when the engine has come round to a job submitted now, and so is done with all before it."""
    last = Caller()
    engine.submit(a_job(model, [1], last))
    last.outcome()


def test_vectors_come_in_the_order_of_the_texts(engine: Engine) -> None:
    caller = Caller()
    engine.submit(a_job(Model(), [300, 2, TOKEN_BUDGET + 1, 40, 2], caller))
    assert caller.outcome().tolist() == [[7, 300], [8, 2], [9, TOKEN_BUDGET + 1], [10, 40], [11, 2]]
    assert len(caller.outcomes) == 1
    assert caller.outcome().dtype == np.float32


def test_what_it_counts(engine: Engine) -> None:
    caller, model = Caller(), Model()
    engine.submit(a_job(model, [2, 4, TOKEN_BUDGET], caller))
    caller.outcome()
    idle(engine, model)
    counters = engine.counters
    assert (counters.texts, counters.runs) == (4, 3)
    assert counters.tokens == 2 + 4 + TOKEN_BUDGET + 1
    assert counters.padded_tokens == 2 * 4 + TOKEN_BUDGET + 1
    assert (counters.terminated_runs, counters.dropped_texts) == (0, 0)
    assert counters.seconds > 0


def test_jobs_that_wait_share_the_next_run(engine: Engine) -> None:
    first, others = Caller(), [Caller() for _ in range(5)]
    holding, model = Model(held=True), Model()
    engine.submit(a_job(holding, [4], first))
    assert holding.running.wait(PATIENCE)
    assert engine.waiting == 0
    for number, caller in enumerate(others):
        engine.submit(a_job(model, [4], caller, token=number))
    assert engine.waiting == 5
    holding.let_go()
    assert [caller.outcome().tolist() for caller in others] == [[[number, 4]] for number in range(5)]
    assert model.runs == [5]
    assert engine.waiting == 0


def test_a_model_that_fails_tells_all_who_need_it_and_nobody_else(engine: Engine) -> None:
    holding, broken, model = Model(held=True), Model(failure=KeyError("boom")), Model()
    first, sharing, other = Caller(), [Caller(), Caller()], Caller()
    engine.submit(a_job(holding, [1], first))
    assert holding.running.wait(PATIENCE)
    for caller in sharing:
        engine.submit(a_job(broken, [5], caller))
    engine.submit(a_job(model, [5], other))
    holding.let_go()
    for caller in sharing:
        error = caller.outcome()
        assert type(error) is RuntimeTwinError
        assert str(error) == "the model failed: 'boom'"
        assert error.sqlstate == "XX000"
    assert other.outcome().tolist() == [[7, 5]]
    assert broken.runs == [2, 1, 1]
    idle(engine, model)
    assert [len(caller.outcomes) for caller in sharing] == [1, 1]


def test_an_error_of_ours_reaches_the_caller_as_it_is(engine: Engine) -> None:
    failure = ModelInvalid("the model gave a vector that is not of finite float32")
    caller, model = Caller(), Model(failure=failure)
    engine.submit(a_job(model, [5], caller))
    assert caller.outcome() is failure


def test_after_a_failed_run_the_rest_of_the_job_does_not_run(engine: Engine) -> None:
    caller, broken = Caller(), Model(failure=RuntimeError("boom"))
    engine.submit(a_job(broken, [TOKEN_BUDGET] * 5, caller))
    caller.outcome()
    idle(engine, Model())
    assert broken.runs == [1]
    assert len(caller.outcomes) == 1
    assert engine.counters.dropped_texts == 5


def test_a_text_that_the_model_refuses_fails_its_own_request_alone(engine: Engine) -> None:
    failure = ModelInvalid("the model gave a vector that is not of finite float32")
    holding, model = Model(held=True), Model(failure=failure, refused=13)
    callers = [Caller() for _ in range(5)]
    engine.submit(a_job(holding, [1], Caller()))
    assert holding.running.wait(PATIENCE)
    for number, caller in enumerate(callers):
        engine.submit(a_job(model, [6, 6], caller, token=4 * number))
    holding.let_go()
    outcomes = [caller.outcome() for caller in callers]
    assert outcomes[3] is failure
    for number in (0, 1, 2, 4):
        assert outcomes[number].tolist() == [[4 * number, 6], [4 * number + 1, 6]]
    assert model.runs == [10, 2, 2, 2, 2, 2]
    idle(engine, Model())
    assert [len(caller.outcomes) for caller in callers] == [1] * 5
    assert (engine.counters.texts, engine.counters.dropped_texts) == (1 + 8 + 1, 2)


def test_of_a_failed_run_only_what_somebody_waits_for_is_repeated(engine: Engine) -> None:
    holding = Model(held=True)
    model = Model(held=True, failure=ModelInvalid("no"), refused=1000)
    callers = [Caller() for _ in range(3)]
    engine.submit(a_job(holding, [1], Caller()))
    assert holding.running.wait(PATIENCE)
    jobs = [a_job(model, [6], caller, token=999 + number) for number, caller in enumerate(callers)]
    for job in jobs:
        engine.submit(job)
    holding.let_go()
    assert model.running.wait(PATIENCE)
    engine.drop(jobs[2])
    model.let_go()
    assert callers[0].outcome().tolist() == [[999, 6]]
    assert isinstance(callers[1].outcome(), ModelInvalid)
    idle(engine, Model())
    assert model.runs == [3, 1, 1]
    assert callers[2].outcomes == []
    assert (engine.counters.texts, engine.counters.dropped_texts) == (1 + 1 + 1, 2)


def test_dropping_a_job_ends_its_run_and_the_next_one_is_served(engine: Engine) -> None:
    holding, model = Model(held=True), Model()
    gone, next_one = Caller(), Caller()
    job = a_job(holding, [TOKEN_BUDGET] * 3, gone)
    engine.submit(job)
    assert holding.running.wait(PATIENCE)
    engine.submit(a_job(model, [3], next_one))
    engine.drop(job)
    assert holding.terminated.wait(PATIENCE)
    assert next_one.outcome().tolist() == [[7, 3]]
    assert holding.runs == [1]
    assert gone.outcomes == []
    assert engine.counters.terminated_runs == 1
    assert engine.counters.dropped_texts == 3


def test_a_run_goes_on_while_somebody_waits_for_it(engine: Engine) -> None:
    holding, model = Model(held=True), Model(held=True)
    first, gone, stays = Caller(), Caller(), Caller()
    engine.submit(a_job(holding, [1], first))
    assert holding.running.wait(PATIENCE)
    leaving = a_job(model, [5], gone)
    engine.submit(leaving)
    engine.submit(a_job(model, [5], stays))
    holding.let_go()
    assert model.running.wait(PATIENCE)
    engine.drop(leaving)
    model.let_go()
    assert stays.outcome().tolist() == [[7, 5]]
    assert model.runs == [2]
    assert gone.outcomes == []
    assert engine.counters.terminated_runs == 0


def test_a_text_is_counted_once_although_its_job_was_dropped_while_it_ran(engine: Engine) -> None:
    holding, model = Model(held=True), Model(held=True)
    engine.submit(a_job(holding, [1], Caller()))
    assert holding.running.wait(PATIENCE)
    leaving, stays = a_job(model, [5, 5, TOKEN_BUDGET], Caller()), Caller()
    engine.submit(leaving)
    engine.submit(a_job(model, [5], stays))
    holding.let_go()
    assert model.running.wait(PATIENCE)
    engine.drop(leaving)
    model.let_go()
    stays.outcome()
    idle(engine, Model())
    assert (engine.counters.texts, engine.counters.dropped_texts) == (1 + 3 + 1, 1)


def test_dropping_a_waiting_job_leaves_the_running_one_alone(engine: Engine) -> None:
    holding = Model(held=True)
    first, second = Caller(), Caller()
    engine.submit(a_job(holding, [TOKEN_BUDGET], first))
    assert holding.running.wait(PATIENCE)
    waiting = a_job(holding, [TOKEN_BUDGET], second)
    engine.submit(waiting)
    engine.drop(waiting)
    engine.drop(waiting)
    assert engine.waiting == 0
    assert engine.counters.dropped_texts == 1
    holding.let_go()
    assert first.outcome().tolist() == [[7, TOKEN_BUDGET]]
    idle(engine, holding)
    assert second.outcomes == []


def test_dropping_a_finished_job_is_harmless_and_counts_nothing(engine: Engine) -> None:
    caller, model = Caller(), Model()
    job = a_job(model, [5, 5], caller)
    engine.submit(job)
    caller.outcome()
    engine.drop(job)
    engine.drop(job)
    idle(engine, model)
    assert engine.counters.dropped_texts == 0
    assert len(caller.outcomes) == 1


def test_stopping_ends_the_run_under_way_and_finishes_nobody() -> None:
    engine, holding = Engine(), Model(held=True)
    callers = [Caller(), Caller()]
    engine.submit(a_job(holding, [TOKEN_BUDGET], callers[0]))
    assert holding.running.wait(PATIENCE)
    engine.submit(a_job(holding, [TOKEN_BUDGET], callers[1]))
    threads = {engine._watch, *engine._workers}
    engine.stop()
    assert holding.terminated.is_set()
    assert [caller.outcomes for caller in callers] == [[], []]
    assert not threads & set(threading.enumerate())


def test_stopping_an_idle_engine_twice() -> None:
    engine = Engine()
    engine.stop()
    engine.stop()


# Runs that take very long


@pytest.fixture
def impatient() -> Iterator[Engine]:
    """An engine for which every run that is held takes very long."""
    engine = Engine(long=0.01)
    yield engine
    engine.stop()


def test_other_models_do_not_wait_for_a_long_run(impatient: Engine) -> None:
    holding, model = [Model(held=True), Model(held=True)], Model()
    first, second, same, other = Caller(), Caller(), Caller(), Caller()
    impatient.submit(a_job(holding[0], [4], first))
    assert holding[0].running.wait(PATIENCE)
    impatient.submit(a_job(holding[0], [4], same))
    impatient.submit(a_job(holding[1], [4], second))
    assert holding[1].running.wait(PATIENCE), "nor for two"
    impatient.submit(a_job(model, [4], other))
    assert other.outcome().tolist() == [[7, 4]]
    assert (holding[0].runs, same.outcomes, first.outcomes) == ([1], [], [])
    for one in holding:
        one.let_go()
    for caller in (first, second, same):
        assert caller.outcome().tolist() == [[7, 4]]


def test_after_long_runs_there_is_one_thread_again(impatient: Engine) -> None:
    holding, callers = [Model(held=True) for _ in range(3)], [Caller() for _ in range(3)]
    for model, caller in zip(holding, callers, strict=True):
        impatient.submit(a_job(model, [4], caller))
    assert all(model.running.wait(PATIENCE) for model in holding)
    for model, caller in zip(holding, callers, strict=True):
        model.let_go()
        caller.outcome()
    assert wait_for(lambda: len(impatient._workers) == 1, timeout=PATIENCE)
    idle(impatient, Model())


def test_a_long_run_that_fails_is_repeated_in_parts(impatient: Engine) -> None:
    holding = Model(held=True)
    model, other = Model(held=True, failure=ModelInvalid("no"), refused=1000), Model()
    callers = [Caller() for _ in range(3)]
    impatient.submit(a_job(holding, [1], Caller()))
    assert holding.running.wait(PATIENCE)
    for number, caller in enumerate(callers):
        impatient.submit(a_job(model, [6], caller, token=1000 + number))
    assert model.running.wait(PATIENCE)
    idle(impatient, other)
    model.let_go()
    assert isinstance(callers[0].outcome(), ModelInvalid)
    assert [caller.outcome().tolist() for caller in callers[1:]] == [[[1001, 6]], [[1002, 6]]]
    holding.let_go()


def test_dropping_a_job_ends_its_long_run_and_no_other(impatient: Engine) -> None:
    holding, callers = [Model(held=True), Model(held=True)], [Caller(), Caller()]
    jobs = [a_job(model, [4], caller) for model, caller in zip(holding, callers, strict=True)]
    for job in jobs:
        impatient.submit(job)
    assert all(model.running.wait(PATIENCE) for model in holding)
    impatient.drop(jobs[0])
    assert holding[0].terminated.wait(PATIENCE)
    assert not holding[1].terminated.is_set()
    holding[1].let_go()
    assert callers[1].outcome().tolist() == [[7, 4]]
    assert callers[0].outcomes == []


def test_stopping_ends_long_runs() -> None:
    engine, holding = Engine(long=0.01), [Model(held=True), Model(held=True)]
    for model in holding:
        engine.submit(a_job(model, [4], Caller()))
    assert all(model.running.wait(PATIENCE) for model in holding)
    threads = {engine._watch, *engine._workers}
    engine.stop()
    assert all(model.terminated.is_set() for model in holding)
    assert not threads & set(threading.enumerate())


@pytest.mark.parametrize("long", [60.0, 0.0005])
def test_many_threads_at_once(long: float) -> None:
    """Every caller gets its own vectors once, or gave up; whoever gives up disturbs nobody."""
    engine = Engine(long=long)
    models = [Model(), Model()]
    wrong: list[object] = []
    submitted: list[int] = []

    def call(seed: int) -> None:
        random = np.random.default_rng(seed)
        for turn in range(40):
            caller = Caller()
            lengths = random.integers(1, 200, size=random.integers(1, 30)).tolist()
            token = seed * 1000 + turn
            job = a_job(models[turn % 2], lengths, caller, token=token)
            engine.submit(job)
            submitted.append(len(lengths))
            if random.random() < 0.4:
                engine.drop(job)
                continue
            expected = [[token + place, length] for place, length in enumerate(lengths)]
            if caller.outcome().tolist() != expected or len(caller.outcomes) != 1:
                wrong.append(caller.outcomes)

    threads = [threading.Thread(target=call, args=[seed]) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    idle(engine, models[0])
    assert engine.waiting == 0
    engine.stop()
    assert engine.counters.texts + engine.counters.dropped_texts == sum(submitted) + 1


# When a job has no use for its model any more


def released(job: Job[Any]) -> list[str]:
    """Filled when the job is released, with the thread that did it."""
    found: list[str] = []
    job.release = lambda: found.append(threading.current_thread().name)
    return found


def test_a_job_that_is_dropped_is_released_when_its_run_has_ended(engine: Engine) -> None:
    """It shares the run with another, which therefore goes on."""
    model, callers = Model(held=True), [Caller(), Caller(), Caller()]
    first, *shared = [a_job(model, [2], caller) for caller in callers]
    releases = [released(job) for job in shared]
    engine.submit(first)
    assert model.running.wait(PATIENCE)
    for job in shared:
        engine.submit(job)
    model.let_go()
    callers[0].outcome()
    assert wait_for(lambda: model.runs == [1, 2] and not model.running.is_set(), timeout=PATIENCE)
    callers[2].outcome()
    for job in shared:
        engine.drop(job)
        engine.drop(job)
    idle(engine, model)
    assert [len(found) for found in releases] == [1, 1]


def test_a_job_that_is_dropped_in_its_run_is_released_by_the_engine(engine: Engine) -> None:
    model, caller = Model(held=True), Caller()
    job = a_job(model, [2, TOKEN_BUDGET], caller)
    found = released(job)
    engine.submit(job)
    assert model.running.wait(PATIENCE)
    engine.drop(job)
    idle(engine, Model())
    assert model.terminated.is_set()
    assert found == ["engine"]
    engine.drop(job)
    assert found == ["engine"]


def test_a_job_that_waits_is_released_when_it_is_dropped(engine: Engine) -> None:
    model = Model(held=True)
    running, waiting = a_job(model, [2], Caller()), a_job(model, [2], Caller())
    found, others = released(waiting), released(running)
    engine.submit(running)
    assert model.running.wait(PATIENCE)
    engine.submit(waiting)
    engine.drop(waiting)
    assert found == [threading.current_thread().name]
    assert others == []
    engine.drop(running)
    assert wait_for(lambda: others == ["engine"], timeout=PATIENCE)


@pytest.mark.parametrize("refused", [None, 70])
def test_jobs_whose_run_fails_are_released_once(engine: Engine, refused: int | None) -> None:
    """One text of two is refused, or both: each then runs alone."""
    model = Model(held=True, failure=ModelInvalid("no"), refused=refused)
    callers = [Caller(), Caller(), Caller()]
    jobs = [a_job(model, [2], caller, token=token) for caller, token in zip(callers, (1, 70, 2), strict=True)]
    releases = [released(job) for job in jobs]
    engine.submit(jobs[0])
    assert model.running.wait(PATIENCE)
    for job in jobs[1:]:
        engine.submit(job)
    model.let_go()
    for caller in callers:
        caller.outcome()
    assert isinstance(callers[1].outcome(), ModelInvalid)
    for job in jobs:
        engine.drop(job)
    idle(engine, Model())
    assert [len(found) for found in releases] == [1, 1, 1]
