"""Faults on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg.errors import UsageError
from azpg_runtime.arm.faults import KINDS, Faults, Plan, Rule
from azpg_runtime.errors import ArmError, ArmRefusal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "faults.json"


def kinds(faults: Faults, count: int) -> list[str | None]:
    drawn = [faults.of_request("/x", "GET") for _ in range(count)]
    return [None if one is None else one.kind for one in drawn]


def test_none_without_a_plan(path: Path) -> None:
    assert kinds(Faults(path), 10) == [None] * 10


def test_a_seed_repeats_and_the_rate_is_kept(path: Path) -> None:
    Plan((Rule("throttle", rate=0.3), Rule("error", rate=0.2)), seed=4).save(path)
    first = kinds(Faults(path), 1000)
    assert first == kinds(Faults(path), 1000)
    assert 250 < first.count("throttle") < 350
    assert 90 < first.count("error") < 190, "of those that were not throttled"
    Plan((Rule("throttle", rate=0.3),), seed=5).save(path)
    assert kinds(Faults(path), 1000) != first


def test_a_changed_plan_is_followed(path: Path) -> None:
    faults = Faults(path)
    Plan((Rule("drop"),)).save(path)
    assert kinds(faults, 2) == ["drop"] * 2
    Plan((Rule("error", times=1),)).save(path)
    assert kinds(faults, 2) == ["error", None]
    path.unlink()
    assert kinds(faults, 1) == [None]


def test_patterns(path: Path) -> None:
    Plan((Rule("error", path="*/flexibleServers/s?", method="PUT"),)).save(path)
    faults = Faults(path)
    assert faults.of_request("/a/b/FLEXIBLESERVERS/S1", "PUT")
    assert not faults.of_request("/a/b/flexibleServers/s1", "GET")
    assert not faults.of_request("/a/b/flexibleServers/s1/databases", "PUT")


def test_operations(path: Path) -> None:
    waited: list[float] = []
    Plan((Rule("slow", delay=7), Rule("fail", path="*/bad"), Rule("throttle"))).save(path)
    faults = Faults(path, wait=waited.append)
    faults.of_operation("/good")
    assert waited == [7]
    with pytest.raises(ArmRefusal, match="azpg arm faults"):
        faults.of_operation("/bad")
    assert faults.of_request("/bad", "GET") is not None, "a request meets only what is for requests"


@pytest.mark.parametrize(
    "rule", [Rule("x"), Rule("slow", rate=1.1), Rule("slow", rate=-1), Rule("slow", delay=4000)]
)
def test_what_is_no_fault(rule: Rule) -> None:
    with pytest.raises(UsageError):
        rule.check()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"rules": [{}], "seed": 0}', '{"rules": [{"kind": "x"}], "seed": 0}']
)
def test_a_damaged_plan(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ArmError, match="`azpg arm faults off` removes it"):
        Plan.load(path)


_rules = st.builds(
    Rule,
    st.sampled_from(sorted(KINDS)),
    st.floats(0, 1),
    st.text(max_size=9),
    st.sampled_from(["*", "PUT"]),
    st.floats(0, 9),
    st.integers(0, 9),
)


@given(st.lists(_rules, max_size=4), st.integers())
def test_a_plan_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, rules: list[Rule], seed: int
) -> None:
    file = tmp_path_factory.mktemp("plan") / "faults.json"
    Plan(tuple(rules), seed).save(file)
    assert Plan.load(file) == Plan(tuple(rules), seed)
