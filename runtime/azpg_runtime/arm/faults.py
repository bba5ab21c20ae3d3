"""Faults on purpose, so that a program's handling of them can be tried: off unless somebody sets some.

A rule hits a request, or the operation that a request has started, with its rate, where the path matches.
The draws come from a seeded generator, so that the same requests in the same order meet the same faults.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from azpg.errors import UsageError
from azpg_runtime.errors import ArmError, ArmRefusal
from azpg_runtime.files import write_atomically

REQUESTS = ("throttle", "error", "drop")
KINDS = {
    "throttle": "429, to be tried again after 25 ms",
    "error": "500, 502, 503 or 504, nothing done",
    "drop": "the connection breaks, before or after the work",
    "slow": "an operation takes longer",
    "fail": "an operation fails, nothing done",
}
DEFAULT_DELAY = 2.0
_ALL_METHODS = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault.

    Attributes:
        kind: one of `KINDS`.
        rate: of the requests or operations that match, from 0 to 1.
        path: a pattern with * and ? for the path, in any case; * matches slashes, too.
        method: the request's, or * for any; operations have none.
        delay: seconds, for `slow`.
        times: how often at most; 0 for no limit.
    """

    kind: str
    rate: float = 1.0
    path: str = "*"
    method: str = _ALL_METHODS
    delay: float = DEFAULT_DELAY
    times: int = 0

    def check(self) -> None:
        """Raises `UsageError` for what is no fault."""
        if self.kind not in KINDS:
            raise UsageError(f"fault {self.kind!r} is unknown: use {', '.join(KINDS)}")
        if not 0 <= self.rate <= 1:
            raise UsageError(f"the rate {self.rate:g} is not from 0 to 1")
        if not 0 <= self.delay <= 3600:
            raise UsageError(f"the delay {self.delay:g} is not from 0 to 3600 seconds")

    def matches(self, path: str, method: str) -> bool:
        """Whether it is meant for a request."""
        return self.method in {_ALL_METHODS, method} and fnmatchcase(path.lower(), self.path.lower())


@dataclass(frozen=True, slots=True)
class Plan:
    """All rules, and the seed of their draws."""

    rules: tuple[Rule, ...] = ()
    seed: int = 0

    def save(self, path: Path) -> None:
        """Writes the plan; a running twin follows it from its next request on."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n", mode=0o600)

    @classmethod
    def load(cls, path: Path) -> Plan:
        """What `save` wrote; none without a file. Raises `ArmError`."""
        try:
            kept = json.loads(path.read_text())
            found = cls(tuple(Rule(**one) for one in kept["rules"]), kept["seed"])
            for rule in found.rules:
                rule.check()
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError, UsageError) as error:
            raise ArmError(f"{path} is damaged: {error}.", hint="`azpg arm faults off` removes it.") from None
        return found


class Faults:
    """The faults that a running twin makes, as the plan's file says at any moment."""

    def __init__(self, path: Path, *, wait: Callable[[float], object] = time.sleep) -> None:
        self._path = path
        self._wait = wait
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._rules: tuple[Rule, ...] = ()
        self._left: list[float] = []
        self.random = random.Random()  # noqa: S311 - as below

    def of_request(self, path: str, method: str) -> Rule | None:
        """The fault that a request meets."""
        return self._draw(REQUESTS, path, method)

    def of_operation(self, path: str) -> None:
        """Keeps an operation waiting, or raises `ArmRefusal`, if it meets such a fault."""
        if rule := self._draw(("slow",), path, ""):
            self._wait(rule.delay)
        if self._draw(("fail",), path, ""):
            raise ArmRefusal(500, "InternalServerError", "An unexpected error occurred. (`azpg arm faults`)")

    def choose(self, *choices: int) -> int:
        """One of several, as drawn."""
        with self._lock:
            return self.random.choice(choices)

    def _draw(self, kinds: tuple[str, ...], path: str, method: str) -> Rule | None:
        with self._lock:
            self._follow()
            for number, rule in enumerate(self._rules):
                wanted = rule.kind in kinds and rule.matches(path, method or rule.method)
                if wanted and self._left[number] > 0 and self.random.random() < rule.rate:
                    self._left[number] -= 1
                    return rule
        return None

    def _follow(self) -> None:
        """Reads the plan if it has changed."""
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            version = None
        if version == self._version:
            return
        self._version = version
        plan = Plan.load(self._path)
        self._rules = plan.rules
        self._left = [rule.times or float("inf") for rule in plan.rules]
        self.random = random.Random(plan.seed)  # noqa: S311 - for tests, not for secrets
