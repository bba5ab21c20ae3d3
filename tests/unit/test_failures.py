"""What is printed of an error, and the exit code that it becomes."""

from __future__ import annotations

import pytest

from azpg.errors import AzpgError, UsageError
from azpg.failures import report
from azpg.process import Terminated
from azpg_provision.errors import PlanRefused, SpecInvalid


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "azpg: interrupted.\n"),
        (KeyboardInterrupt("1 of 2 is done."), 130, "azpg: interrupted: 1 of 2 is done.\n"),
        (Terminated("1 of 2 is done."), 143, "azpg: terminated: 1 of 2 is done.\n"),
        (AzpgError("one\n line"), 1, "azpg: one line\n"),
        (UsageError("no."), 2, "azpg: no.\n"),
        (PlanRefused("no."), 1, "azpg: no.\n"),
        (PlanRefused("a.", "b."), 1, "azpg: 2 reasons why this cannot be planned:\n  a.\n  b.\n"),
        (SpecInvalid(["x:1: a."]), 2, "azpg: x:1: a.\n"),
        (SpecInvalid(["x:1: a.", "x:2: b."]), 2, "azpg: 2 mistakes:\n  x:1: a.\n  x:2: b.\n"),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str) -> None:
    assert report(error) == code
    assert capsys.readouterr().err == said


def test_a_bug_is_left_to_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError()) is None
    assert capsys.readouterr().err == ""
