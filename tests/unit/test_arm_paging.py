"""Lists in pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.exchange import Answer, Call, listed
from azpg_runtime.arm.paging import PAGE, page
from azpg_runtime.errors import ArmRefusal

THINGS = Address.parse("/subscriptions/S/providers/Microsoft.X/things")
BASE = "https://twin:1"


def pages(items: list[dict[str, Any]], gone: set[str] = frozenset()) -> list[list[str]]:  # type: ignore[assignment]
    """All pages of a list, by following each nextLink; `gone` is removed after the first."""
    found: list[list[str]] = []
    query = {"api-version": "1", "$filter": "a eq 'b'"}
    while True:
        answer = page(Call("GET", THINGS, base=BASE, query=query), listed(items))
        found.append([one["id"] for one in answer.body["value"]])
        if "nextLink" not in answer.body:
            return found
        parts = urlsplit(answer.body["nextLink"])
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{BASE}{THINGS}"
        query = {name.lower(): value for name, value in parse_qsl(parts.query)}
        assert (query["api-version"], query["$filter"]) == ("1", "a eq 'b'")
        items = [one for one in items if one["id"] not in gone]


@given(st.sets(st.text(max_size=3), max_size=3 * PAGE), st.randoms(), st.data())
def test_every_resource_is_on_one_page(names: set[str], order: Any, data: st.DataObject) -> None:
    """Whatever order they come in, and whatever is removed meanwhile."""
    items = [{"id": f"/things/{name}"} for name in names]
    order.shuffle(items)
    gone = {f"/things/{name}" for name in data.draw(st.sets(st.sampled_from(sorted(names) or ["x"])))}
    found = pages(items, gone)
    shown = [one for each in found for one in each]
    assert len(shown) == len(set(shown))
    assert set(shown) >= {one["id"] for one in items} - gone
    assert all(len(one) == PAGE for one in found[:-1])


def test_many_are_on_several_pages() -> None:
    items = [{"id": f"/things/{number}"} for number in range(2 * PAGE + 1)]
    assert [len(one) for one in pages(items)] == [PAGE, PAGE, 1]
    assert [len(one) for one in pages(items[: 2 * PAGE])] == [PAGE, PAGE]


@pytest.mark.parametrize("body", [None, {"value": "a"}, {"value": [{"name": "model"}] * 300}, {"id": "a"}])
def test_what_is_no_list_of_resources_stays(body: object) -> None:
    answer = Answer(body=body)
    assert page(Call("GET", THINGS), answer) is answer


@pytest.mark.parametrize("token", ["%", "ä", "YQ", "/w=="])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(ArmRefusal, match="Follow a nextLink as it was answered") as refused:
        page(Call("GET", THINGS, query={"$skiptoken": token}), listed([]))
    assert (refused.value.status, refused.value.code) == (400, "InvalidSkipToken")
