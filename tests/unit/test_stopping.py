"""A signal may come in the midst of anything, also of what a handler would need itself."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from azpg.output import say
from azpg.process import Terminated
from azpg_provision.commands.stopping import Stop, stopping

FINISHING = "Finishing the batch at hand; once more undoes it.\n"


class Interrupted(io.RawIOBase):
    """A standard error during whose first write a signal comes."""

    def __init__(self) -> None:
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        first, self.written = not self.written, self.written + bytes(data)
        if first:
            os.kill(os.getpid(), signal.SIGTERM)
        return len(data)


@pytest.fixture
def stop() -> Iterator[Stop]:
    with stopping() as stop:
        yield stop


def test_a_signal_while_something_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writes at once to one buffer, of one thread, are an error of Python's."""
    stream = Interrupted()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(stream), line_buffering=True))
    with stopping() as stop:
        say("something")
        assert stop.wait(60)
    assert stop.number == signal.SIGTERM
    assert stream.written.decode() == f"something\n{FINISHING}"


@pytest.mark.timeout(60)
def test_a_signal_while_the_end_is_waited_for(stop: Stop) -> None:
    """The lock of an event is not to be taken twice by one thread."""
    with stop._cond:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT
    assert stop.wait(60)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_the_second_signal_ends_at_once(number: signal.Signals, raised: type[BaseException]) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with stopping():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(raised):
            os.kill(os.getpid(), number)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
