"""The order of runs: every text once, within the budget, models apart, nobody left waiting for long."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.embedding.batching import RUN_OVERHEAD, TOKEN_BUDGET, pack
from azpg_runtime.host.scheduler import CYCLE, Batch, Job, Scheduler

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


def never(failure: Exception | None) -> None:
    raise AssertionError("the scheduler itself finishes nothing")


def job(model: Model, lengths: Sequence[int], *, mark: int = 0) -> Job[Model]:
    """A job whose n-th text is that many tokens (mark, n)."""
    ids = [np.full(length, mark * 1000 + place, dtype=np.int32) for place, length in enumerate(lengths)]
    return Job(model, ids, deque(pack(lengths)), np.zeros((len(lengths), 2), np.float32), never)


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
    patience: dict[int, int] = {}  # runs within which a waiting job must have one, whatever the others are

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
                patience[key] = CYCLE * len(scheduler)
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
                patience[id(new)] = CYCLE * len(scheduler)
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
        assert one.matrix.tolist() == [vector(one, place) for place in range(len(one.ids))]


@unhurried
@given(steps=STEPS)
def test_who_was_dropped_is_never_finished_nor_run_again(steps: list[tuple[str, object, object]]) -> None:
    played = play(steps)  # which checks that no batch has a dropped job's texts
    assert not {id(one) for one in played.dropped} & {id(one) for one in played.complete}
    assert all(one.over for one in played.dropped)


def runs_until(scheduler: Scheduler[Model], wanted: Job[Model]) -> int:
    """The number of the run that has a text of `wanted`, counted from 1."""
    for number in count(1):
        batch = scheduler.next()
        assert batch is not None
        if any(one is wanted for one, _ in batch.items):
            return number
    raise AssertionError


SINGLES = st.integers(1, TOKEN_BUDGET)
LONG = st.lists(st.integers(TOKEN_BUDGET // 2 + 1, TOKEN_BUDGET), min_size=2, max_size=30)


@unhurried
@given(
    long=st.lists(LONG, max_size=12),
    singles=st.lists(SINGLES, max_size=12),
    begun=st.integers(0, 3 * CYCLE),
    mine=SINGLES,
    later=st.lists(SINGLES | LONG, max_size=40),
)
def test_a_short_request_waits_for_those_before_it_and_every_fourth_run(
    long: list[list[int]], singles: list[int], begun: int, mine: int, later: list[int | list[int]]
) -> None:
    """However long the others are, whoever comes later, and wherever in its cycle the scheduler is."""
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    for _ in range(begun):
        scheduler.add(job(model, [1]))
        scheduler.next()
    for one in long:
        scheduler.add(job(model, one))
    for single in singles:
        scheduler.add(job(model, [single]))
    wanted = job(model, [mine])
    scheduler.add(wanted)
    arriving = iter(later)
    bound = len(singles) + math.ceil((len(singles) + 1) / (CYCLE - 1))
    for _ in range(bound + 1):
        batch = scheduler.next()
        assert batch is not None
        if any(one is wanted for one, _ in batch.items):
            return
        for new in islice(arriving, 3):
            scheduler.add(job(model, [new] if isinstance(new, int) else new))
    raise AssertionError(f"it has waited for more than {bound} runs")


def test_a_short_request_beside_long_ones_waits_for_one_run() -> None:
    for begun in range(CYCLE):
        model = Model()
        scheduler: Scheduler[Model] = Scheduler()
        for _ in range(63):
            scheduler.add(job(model, [TOKEN_BUDGET] * 1000))
        for _ in range(begun):
            scheduler.next()
        wanted = job(model, [10])
        scheduler.add(wanted)
        assert runs_until(scheduler, wanted) <= 2


def test_a_long_request_gets_every_fourth_run_although_short_ones_never_end() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    huge = job(model, [TOKEN_BUDGET] * 100)
    scheduler.add(huge)
    runs = []
    for _ in range(10):
        for _ in range(CYCLE - 1):
            scheduler.add(job(model, [TOKEN_BUDGET]))
        runs += [scheduler.next() for _ in range(CYCLE)]
    assert sum(batch is not None and batch.items[0][0] is huge for batch in runs) == 10


def test_who_is_nearest_to_the_end_goes_first_and_every_fourth_run_to_who_waits_longest() -> None:
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    large = [job(model, [TOKEN_BUDGET] * runs, mark=mark) for mark, runs in enumerate((5, 3, 3))]
    for one in large:
        scheduler.add(one)
    order = []
    while (batch := scheduler.next()) is not None:
        order.append([large.index(one) for one, _ in batch.items])
    assert [at for (at,) in order] == [1, 1, 1, 0, 2, 2, 2, 0, 0, 0, 0]


def micro_batches(
    queries: int, arrays: int, seed: int, *, runs: int = 150, tokens: tuple[int, int] = (6, 12)
) -> list[float]:
    """How long queries wait and run, in micro-batches, while each session asks again at once.

    Beside them there are array calls and one huge one. Time is what runs cost, by `RUN_OVERHEAD`.
    """
    random = np.random.default_rng(seed)
    model = Model()
    scheduler: Scheduler[Model] = Scheduler()
    huge = job(model, random.integers(20, 80, 2000).tolist())
    scheduler.add(huge)
    asked: dict[int, tuple[Job[Model], float, bool]] = {}
    now, waits = 0.0, []

    def ask(*, query: bool) -> None:
        if query:
            new = job(model, [int(random.integers(*tokens, endpoint=True))])
        else:
            new = job(model, random.integers(20, 80, random.integers(10, 100)).tolist())
        asked[id(new)] = new, now, query
        scheduler.add(new)

    for _ in range(arrays):
        ask(query=False)
    for _ in range(queries):
        ask(query=True)
    for _ in range(runs):
        batch = scheduler.next()
        assert batch is not None
        lengths = [len(text) for text in batch.ids]
        now += (RUN_OVERHEAD + len(lengths) * max(lengths)) / (RUN_OVERHEAD + TOKEN_BUDGET)
        for done in deliver(batch):
            _, since, query = asked.pop(id(done))
            if query:
                waits.append(now - since)
            ask(query=query)
    return waits


@settings(deadline=None, max_examples=40)
@given(queries=st.integers(1, 50), others=st.integers(0, 62), seed=st.integers(0, 1000))
def test_of_64_sessions_queries_are_answered_within_three_micro_batches(
    queries: int, others: int, seed: int
) -> None:
    waits = micro_batches(queries, min(others, 63 - queries), seed)
    assert np.quantile(waits, 0.95) <= 3, np.quantile(waits, [0.5, 0.95, 1])


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


def test_a_model_that_is_busy_is_left_out() -> None:
    scheduler: Scheduler[Model] = Scheduler()
    slow, quick = Model(), Model()
    jobs = [job(slow, [3]), job(quick, [4]), job(slow, [5])]
    for one in jobs:
        scheduler.add(one)
    batch = scheduler.next(busy=[slow])
    assert batch is not None
    assert batch.jobs == [jobs[1]]
    assert scheduler.next(busy=[slow]) is None
    assert len(scheduler) == 2
    batch = scheduler.next()
    assert batch is not None
    assert batch.jobs == [jobs[0], jobs[2]]
