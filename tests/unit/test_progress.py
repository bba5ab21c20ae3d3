"""Where a bar is between two reports, without a clock."""

from __future__ import annotations

import pytest

from azpg.progress import Pace, duration, fitted


def test_nothing_is_known_before_the_first_report() -> None:
    pace = Pace(800, began=0)
    assert (pace.at(5), pace.left(5), pace.rate) == (0, None, None)


def test_a_bar_moves_between_reports() -> None:
    pace = Pace(800, began=0)
    pace.report(100, 10)
    assert (pace.rate, pace.at(10), pace.left(10)) == (10, 100, 70)
    assert pace.at(12) == 120
    assert pace.left(12) == 68


def test_what_came_before_the_first_report_may_have_been_the_loading_of_a_model() -> None:
    pace = Pace(800, began=0)
    pace.report(10, 20)
    pace.report(110, 21)
    assert pace.rate == 100


def test_a_bar_waits_for_a_report_that_does_not_come() -> None:
    pace = Pace(800, began=0)
    pace.report(100, 10)
    assert pace.at(1000) == 300, "two more such steps at most"


def test_a_bar_never_goes_back_and_is_full_only_when_all_is_done() -> None:
    pace = Pace(100, began=0)
    pace.report(50, 1)
    assert pace.at(60) == 99
    pace.report(60, 61)
    assert pace.at(61) == 99
    pace.report(100, 62)
    assert (pace.at(62), pace.left(62)) == (100, 0)


def test_by_an_estimate_of_what_nobody_counts() -> None:
    pace = Pace(100, began=0, rate=10)
    assert (pace.at(5), pace.left(5)) == (50, 5)
    assert pace.at(30) == 99
    assert pace.left(30) is None, "it takes longer than was thought"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (7.4, "0:07"), (750, "12:30"), (3600, "1:00:00"), (3725, "1:02:05")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_name_that_is_too_long_keeps_both_its_ends() -> None:
    assert fitted("rows public.products.embedding", 40) == "rows public.products.embedding"
    assert fitted("rows public.products.embedding", 20) == "rows p…cts.embedding"
    assert len(fitted("rows public.products.embedding", 20)) == 20
