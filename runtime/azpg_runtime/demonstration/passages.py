"""The Python language reference that ships inside every CPython, cut into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SHORTEST, _LONGEST = 80, 900
"""Characters of a passage: paragraphs are joined up to the first and never beyond the second."""
_UNDERLINE = re.compile(r"([=*\-~^\"'#])\1{2,}\s*")
_FOOTNOTES = re.compile(r"-\[ Footnotes? \]-")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text that can answer a question.

    Attributes:
        topic: the page it comes from.
        title: the nearest heading above it.
        body: the text itself, paragraphs divided by blank lines.
    """

    topic: str
    title: str
    body: str


def language_reference() -> list[Passage]:
    """Every passage of the language reference, each text once, in a fixed order."""
    from pydoc_data.topics import topics  # noqa: PLC0415 - a large module

    found: dict[str, Passage] = {}
    # Short pages first: what they say stands again inside the long ones, under a less telling name.
    for topic in sorted(topics, key=lambda name: (len(topics[name]), name)):
        for passage in split(topic, topics[topic]):
            found.setdefault(re.sub(r"\W+", "", passage.body), passage)
    return list(found.values())


def split(topic: str, text: str) -> Iterator[Passage]:
    """The passages of one page of plain text with underlined headings."""
    title, waiting = topic, ""
    for paragraph in _paragraphs(text):
        lines = paragraph.split("\n")
        if len(lines) == 2 and _UNDERLINE.fullmatch(lines[1]):
            if waiting:
                yield Passage(topic, title, waiting)
            title, waiting = lines[0].strip(), ""
            continue
        # What is indented explains what stands above it.
        enough = len(waiting) >= _SHORTEST and not paragraph.startswith(" ")
        if waiting and (enough or len(waiting) + 2 + len(paragraph) > _LONGEST):
            yield Passage(topic, title, waiting)
            waiting = ""
        waiting = f"{waiting}\n\n{paragraph}" if waiting else paragraph
    if waiting:
        yield Passage(topic, title, waiting)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        clean = re.sub(r"[ \t]+$", "", paragraph.strip("\n"), flags=re.MULTILINE)
        if clean.strip() and not _FOOTNOTES.fullmatch(clean.strip()):
            yield from _pieces(clean)


def _pieces(paragraph: str) -> Iterator[str]:
    """The paragraph, cut at line ends where it is too long for one passage."""
    piece = ""
    for line in paragraph.split("\n"):
        if piece and len(piece) + len(line) >= _LONGEST:
            yield piece
            piece = ""
        piece = f"{piece}\n{line}" if piece else line
    yield piece
