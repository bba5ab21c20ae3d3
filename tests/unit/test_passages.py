"""The language reference, cut into passages: nothing lost, nothing twice, nothing too long."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.demonstration.passages import Passage, language_reference, split

LONG = 900
LINES = st.text("ab =*-~^\"'#.", max_size=60) | st.text("ab ", min_size=300, max_size=1200)
PAGES = st.lists(LINES, max_size=25).map("\n".join)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def bodies(text: str) -> list[str]:
    return [passage.body for passage in split("topic", text)]


@settings(deadline=None)
@given(page=PAGES)
def test_every_word_is_in_one_passage_or_heading_in_order(page: str) -> None:
    found: list[str] = []
    title = "topic"
    for passage in split("topic", page):
        assert passage.topic == "topic"
        if passage.title != title:
            title = passage.title
        found += words(passage.body)
    page_words = words(page)
    rest = iter(page_words)
    assert all(word in rest for word in found)  # a subsequence: only headings are left out
    headings = [line for line in page.split("\n") if words(line)]
    assert len(page_words) - len(found) <= sum(len(words(line)) for line in headings)


@settings(deadline=None)
@given(page=PAGES)
def test_passages_are_short_unless_a_single_line_is_long(page: str) -> None:
    for body in bodies(page):
        assert body.strip()
        assert not re.search(r"[ \t]$", body, re.MULTILINE)
        assert len(body) <= LONG or "\n" not in body


@settings(deadline=None)
@given(page=st.lists(st.text("ab. ", min_size=1, max_size=200), max_size=20).map("\n\n".join))
def test_without_headings_nothing_is_left_out(page: str) -> None:
    assert words("\n".join(bodies(page))) == words(page)


def test_headings_name_what_follows_them() -> None:
    page = f"Intro\n\nFirst\n=====\n\n{'one ' * 30}\n\n  explained\n\nSecond\n~~~~~~\n\ntwo\n"
    assert list(split("topic", page)) == [
        Passage("topic", "topic", "Intro"),
        Passage("topic", "First", ("one " * 30).strip() + "\n\n  explained"),
        Passage("topic", "Second", "two"),
    ]


def test_short_paragraphs_are_joined_and_long_ones_stand_alone() -> None:
    short, enough = "short", "e" * 80
    assert bodies(f"{short}\n\n{enough}\n\n{short}") == [f"{short}\n\n{enough}", short]


def test_what_is_indented_belongs_to_what_stands_above() -> None:
    assert bodies(f"{'a' * 100}:\n\n   x = 1\n\n{'b' * 100}") == [f"{'a' * 100}:\n\n   x = 1", "b" * 100]


def test_two_paragraphs_are_joined_up_to_the_limit_and_not_beyond() -> None:
    above, fits = "a" * 400, " " + "b" * (LONG - 403)
    assert bodies(f"{above}\n\n{fits}") == [f"{above}\n\n{fits}"]
    assert [len(body) for body in bodies(f"{above}\n\n{fits}b")] == [400, LONG - 401]


def test_a_long_paragraph_is_cut_at_line_ends() -> None:
    lines = [str(number) * 99 for number in range(10)] * 2
    found = bodies("\n".join(lines))
    assert [len(body) for body in found] == [899, 899, 199]
    assert "\n".join(found).split("\n") == lines


def test_footnotes_and_blank_paragraphs_are_no_passages() -> None:
    assert bodies("one\n\n   \n\n-[ Footnotes ]-\n\n\n") == ["one"]
    assert bodies("") == []


def test_two_lines_of_text_are_no_heading() -> None:
    assert bodies("first\nsecond") == ["first\nsecond"]
    assert bodies("first\n--") == ["first\n--"]
    assert bodies("first\n-=-") == ["first\n-=-"]


def test_the_language_reference() -> None:
    found = language_reference()
    assert found == language_reference()
    assert len(found) > 500
    assert len({re.sub(r"\W+", "", passage.body) for passage in found}) == len(found)
    assert max(len(passage.body) for passage in found) <= LONG
    assert all(passage.title and passage.topic for passage in found)
    said = " ".join(passage.body for passage in found)
    for phrase in ("__iter__", "finally", "global", "thousands separator"):
        assert phrase in said
