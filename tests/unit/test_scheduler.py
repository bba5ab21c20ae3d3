"""The order of runs: every text once, within the budget, models apart, nobody left waiting."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.embedding.batching import RUN_OVERHEAD, TOKEN_BUDGET, pack
from azpg_runtime.errors import HostBusy
from azpg_runtime.host.scheduler import MAX_JOBS, Batch, Job, Outcome, Scheduler

LENGTHS = st.lists(st.integers(0, 40) | st.integers(1, TOKEN_BUDGET + 100), min_size=1, max_size=25)
ADD = st.tuples(st.just("add"), st.sampled_from("AB"), LENGTHS)
DROP = st.tuples(st.just("drop"), st.integers(0, 30), st.none())
NEXT = st.tuples(st.just("next"), st.none(), st.none())
DELIVER = st.tuples(st.just("deliver"), st.integers(0, 5), st.none())
STEPS = st.lists(ADD | ADD | DROP | NEXT | NEXT | DELIVER, max_size=60)

unhurried = settings(deadline=None)


class Model:
    """Stands for a loaded model; the scheduler only looks at which one it is."""

    def __eq__(self, other: object) -> bool:  # models are told apart by identity, not by what they equal
        return isinstance(other, Model)

    __hash__ = None  # type: ignore[assignment]


def never(outcome: Outcome) -> None:
    raise AssertionError("the scheduler itself finishes nothing")


def job(model: Model, lengths: Sequence[int], *, mark: int = 0) -> Job[Model]:
    """A job whose n-th text is that many tokens (mark, n)."""
    ids = [np.full(length, mark * 1000 + place, dtype=np.int64) for place, length in enumerate(lengths)]
    return Job(model, ids, deque(pack(lengths)), never)


def vector(of: Job[Model], place: int) -> list[float]:
    return [float(id(of) % 65521), float(place)]


def deliver(batch: Batch[Model]) -> list[Job[Model]]:
    rows = np.array([vector(one, place) for one, place in batch.items], dtype=np.float32)
    return batch.deliver(rows)


def check(batch: Batch[Model]) -> None:
    lengths = [len(text) for text in batch.ids]
    padded = len(lengths) * max(lengths)
    assert len(lengths) == 1 or padded <= TOKEN_BUDGET
    assert all(one.model is batch.model for one, _ in batch.items)
    assert all(text is one.ids[place] for text, (one, place) in zip(batch.ids, batch.items, strict=True))
    # Runs are merged only where that is no dearer than running each job's texts for themselves.
    apart = 0
    for one in {id(one): one for one, _ in batch.items}.values():
        own = [len(text) for text, (other, _) in zip(batch.ids, batch.items, strict=True) if other is one]
        apart += RUN_OVERHEAD + len(own) * max(own)
    assert RUN_OVERHEAD + padded <= apart


@dataclass
class Played:
    """What came of a sequence of steps."""

    jobs: list[Job[Model]] = field(default_factory=list)
    dropped: list[Job[Model]] = field(default_factory=list)
    handed_out: Counter[tuple[int, int]] = field(default_factory=Counter)
    complete: list[Job[Model]] = field(default_factory=list)


def play(steps: list[tuple[str, object, object]]) -> Played:
    """Plays `steps` and then runs what is left, checking each batch and each job's wait on the way."""
    models = {"A": Model(), "B": Model()}
    scheduler: Scheduler[Model] = Scheduler()
    played = Played()
    under_way: list[Batch[Model]] = []
    patience: dict[int, int] = {}  # calls of next() within which a waiting job must get a batch

    def take() -> bool:
        waiting = len(scheduler)
        batch = scheduler.next()
        assert (batch is None) == (waiting == 0)
        if batch is None:
            return False
        check(batch)
        under_way.append(batch)
        served = {id(one): one for one, _ in batch.items}
        for key in patience:
            patience[key] -= 1
        for key, one in served.items():
            del patience[key]
            if one.batches:
                patience[key] = len(scheduler)
        assert all(left > 0 for left in patience.values())
        assert len(patience) == len(scheduler)
        for one, place in batch.items:
            assert one not in played.dropped
            played.handed_out[id(one), place] += 1
        return True

    def finish(at: int) -> None:
        if under_way:
            played.complete += deliver(under_way.pop(at % len(under_way)))

    for what, first, second in steps:
        match what:
            case "add":
                new = job(models[first], second, mark=len(played.jobs))  # type: ignore[index, arg-type]
                played.jobs.append(new)
                scheduler.add(new)
                patience[id(new)] = len(scheduler)
            case "drop":
                if played.jobs:
                    one = played.jobs[first % len(played.jobs)]  # type: ignore[operator]
                    scheduler.drop(one)
                    patience.pop(id(one), None)
                    if one not in played.complete:
                        played.dropped.append(one)
            case "next":
                take()
            case _:
                finish(first)  # type: ignore[arg-type]
    while take():
        pass
    while under_way:
        finish(0)
    return played


@unhurried
@given(steps=STEPS)
def test_every_text_once_in_its_place_whatever_happens(steps: list[tuple[str, object, object]]) -> None:
    played = play(steps)
    assert all(times == 1 for times in played.handed_out.values())
    finished = [one for one in played.jobs if one not in played.dropped]
    assert Counter(map(id, played.complete)) == Counter(map(id, finished))
    for one in finished:
        assert one.remaining == 0
        assert one.matrix is not None
        assert one.matrix.tolist() == [vector(one, place) for place in range(len(one.ids))]


@unhurried
@given(steps=STEPS)
def test_who_was_dropped_is_never_finished_nor_run_again(steps: list[tuple[str, object, object]]) -> None:
    played = play(steps)  # which checks that no batch has a dropped job's texts
    assert not {id(one) for one in played.dropped} & {id(one) for one in played.complete}
    assert all(one.over for one in played.dropped)


@unhurried
@given(lengths=st.lists(LENGTHS, min_size=1, max_size=12), single=st.integers(1, 100))
def test_a_first_batch_comes_within_as_many_runs_as_jobs_wait(lengths: list[list[int]], single: int) -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    jobs = [job(model, [*one, *[TOKEN_BUDGET] * 20]) for one in lengths]
    for one in jobs:
        scheduler.add(one)
    last = job(model, [single])
    scheduler.add(last)
    batches = [scheduler.next() for _ in range(len(jobs) + 1)]
    for one in [*jobs, last]:
        assert any(batch is not None and one in [other for other, _ in batch.items] for batch in batches)


def test_jobs_take_turns() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    large = [job(model, [TOKEN_BUDGET] * 3, mark=mark) for mark in range(3)]
    for one in large:
        scheduler.add(one)
    order = []
    while (batch := scheduler.next()) is not None:
        order.append([large.index(one) for one, _ in batch.items])
    assert order == [[0], [1], [2]] * 3


def test_a_single_text_joins_the_run_whose_turn_it_is() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    array, single = job(model, [10] * 4), job(model, [10])
    scheduler.add(array)
    scheduler.add(single)
    batch = scheduler.next()
    assert batch is not None
    assert batch.items == [*((array, place) for place in range(4)), (single, 0)]
    assert (len(scheduler), scheduler.next()) == (0, None)


def test_models_that_look_alike_do_not_share_a_run() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    first, second = job(Model(), [10]), job(Model(), [10])
    assert first.model == second.model
    scheduler.add(first)
    scheduler.add(second)
    runs = [scheduler.next(), scheduler.next()]
    assert [run.items for run in runs if run is not None] == [[(first, 0)], [(second, 0)]]


def test_a_run_that_would_be_mostly_padding_is_not_shared() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    short, long = job(model, [3]), job(model, [3 + RUN_OVERHEAD])
    scheduler.add(short)
    scheduler.add(long)
    assert scheduler.next() is not None
    assert len(scheduler) == 1
    nearly = job(model, [4])
    scheduler.add(nearly)
    batch = scheduler.next()
    assert batch is not None
    assert {id(one) for one, _ in batch.items} == {id(long), id(nearly)}


def test_a_full_run_takes_nobody_else_along() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    full, single = job(model, [TOKEN_BUDGET // 8] * 8), job(model, [TOKEN_BUDGET // 8])
    scheduler.add(full)
    scheduler.add(single)
    first, second = scheduler.next(), scheduler.next()
    assert first is not None
    assert second is not None
    assert [one for one, _ in second.items] == [single]


def test_a_run_that_grew_longer_counts_as_long() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    short, longer, last = job(model, [10]), job(model, [40] * 11), job(model, [10])
    for one in (short, longer, last):
        scheduler.add(one)
    batch = scheduler.next()
    assert batch is not None
    assert {id(one) for one, _ in batch.items} == {id(short), id(longer)}
    check(batch)
    assert len(batch.items) * 40 <= TOKEN_BUDGET < (len(batch.items) + 1) * 40


def test_nothing_waits() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    assert scheduler.next() is None
    assert len(scheduler) == 0


def test_one_request_too_many_is_refused_and_the_queue_goes_on() -> None:
    scheduler: Scheduler[Model] = Scheduler(max_jobs=2)
    model = Model()
    jobs = [job(model, [TOKEN_BUDGET]) for _ in range(3)]
    scheduler.add(jobs[0])
    scheduler.add(jobs[1])
    with pytest.raises(HostBusy) as caught:
        scheduler.add(jobs[2])
    assert caught.value.sqlstate == "53400"
    assert caught.value.message == "the model host already has 2 requests waiting"
    assert caught.value.hint == "Repeat the call later, or use fewer sessions with larger arrays."
    assert len(scheduler) == 2
    scheduler.drop(jobs[0])
    scheduler.add(jobs[2])
    assert len(scheduler) == 2


def test_as_many_requests_may_wait_as_the_limit_says() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    model = Model()
    for _ in range(MAX_JOBS):
        scheduler.add(job(model, [1]))
    with pytest.raises(HostBusy, match=f"already has {MAX_JOBS} requests waiting"):
        scheduler.add(job(model, [1]))


def test_dropping_what_does_not_wait_is_harmless() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    one = job(Model(), [5])
    scheduler.drop(one)
    other = job(Model(), [5])
    scheduler.add(other)
    scheduler.drop(other)
    scheduler.drop(other)
    assert scheduler.next() is None


def test_a_run_is_abandoned_when_the_last_of_its_jobs_is() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    model = Model()
    first, second = job(model, [5]), job(model, [5])
    scheduler.add(first)
    scheduler.add(second)
    batch = scheduler.next()
    assert batch is not None
    assert not batch.abandoned
    scheduler.drop(first)
    assert not batch.abandoned
    assert deliver(batch) == [second]
    scheduler.drop(second)
    assert batch.abandoned


def test_each_job_has_its_part_of_a_run() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    model = Model()
    first, second = job(model, [5, 6]), job(model, [5])
    scheduler.add(first)
    scheduler.add(second)
    batch = scheduler.next()
    assert batch is not None
    assert [part.items for part in batch.parts()] == [[(first, 0), (first, 1)], [(second, 0)]]
    assert all(part.model is model for part in batch.parts())


def test_rows_must_be_as_many_as_texts() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    scheduler.add(job(Model(), [5, 5]))
    batch = scheduler.next()
    assert batch is not None
    with pytest.raises(ValueError, match="zip"):
        batch.deliver(np.zeros((1, 2), dtype=np.float32))
