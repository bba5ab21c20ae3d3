"""YAML as plain values, each of which knows its line.

Only what a spec needs: mappings with text keys, lists, texts, numbers, true, false and null, as YAML 1.2
reads them, so that the keys `on` and `no` are texts. The parser's events are read one by one: nothing is
built of a document that is too large or too deep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Path = tuple[str | int, ...]


class Unreadable(Exception):
    """A document that is none; `line` begins at 1."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        super().__init__(text)


@dataclass(slots=True)
class Document:
    """What a YAML document holds.

    Attributes:
        value: mappings, lists, texts, numbers, booleans, None.
        lines: of each key and element, by its path; that of the document is ``()``.
        problems: what could be read and is wrong nevertheless: (line, path, what).
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, Path, str]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of a key or element, or of the nearest one around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


class Written:
    """Where the parts of a spec were written, for messages; two specs do not differ by it.

    Args:
        name: the file's.
        document: None for a spec that was not read.
    """

    def __init__(self, name: str = "", document: Document | None = None) -> None:
        self._name, self._document = name, document

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written)

    def __hash__(self) -> int:
        return hash(Written)

    def said(self, path: Path) -> str:
        """``azpg.yaml:7: databases[0].name: ``, or nothing."""
        if self._document is None:
            return ""
        return said(self._name, self._document.line(path), key(path), "")


def said(name: str, line: int, place: str, text: str) -> str:
    """A sentence about a place, such as ``azpg.yaml:7: databases[0].name: is missing``."""
    return f"{name}:{line}: {place}: {text}" if place else f"{name}:{line}: {text}"


def key(path: Iterable[Any]) -> str:
    """A place as people write it: ``databases[0].tables[1].name``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if part and set(part) <= _PLAIN else repr(part[:60])
            text += f".{shown}" if text else shown
    return text


def parse(data: bytes) -> Document:
    """Reads one document. Raises `Unreadable`."""
    if len(data) > MAX_BYTES:
        raise Unreadable(1, f"the file has {len(data)} bytes: use {MAX_BYTES} at most.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, f"byte {error.start} is not UTF-8: save the file as UTF-8.") from None
    document = Document()
    try:
        events = _events(text)
        first = next(events, None)
        if first is not None:
            document.value = _value(events, first, (), document)
        if next(events, None) is not None:
            raise Unreadable(1, "the file holds several documents: use one, without `---` between parts.")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context or "it cannot be read"
        raise Unreadable(mark.line + 1 if mark else 1, f"this is no YAML: {said}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise Unreadable(
            line, f"the character U+{code:04X} cannot stand in YAML: leave it out, or write it as an escape."
        ) from None
    return document


def _events(text: str) -> Iterator[yaml.Event]:
    """The events of values, without those of the stream; refuses what could stand for more than it says."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable(
                line, "anchors and aliases (& and *) are not taken: write what they stand for in each place."
            )
        if getattr(event, "tag", None) not in {None, "!"}:
            raise Unreadable(line, "tags (!) are not taken: leave it out.")
        if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
            yield event


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _value(events: Iterator[yaml.Event], event: yaml.Event, path: Path, document: Document) -> Any:
    line = _line(event)
    document.lines.setdefault(path, line)
    if len(path) > MAX_DEPTH:
        raise Unreadable(line, f"this is {len(path)} levels deep: a spec has fewer than {MAX_DEPTH}.")
    if isinstance(event, yaml.ScalarEvent):
        return event.value if not event.implicit[0] else _plain(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        elements: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            elements.append(_value(events, event, (*path, len(elements)), document))
        return elements
    return _mapping(events, path, document)


def _mapping(events: Iterator[yaml.Event], path: Path, document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        line = _line(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise Unreadable(line, "a key is a mapping or a list: use a text.")
        key = event.value
        if event.implicit[0] and (key == "<<" or not isinstance(_plain(key), str)):
            what = "merge keys (<<) are not taken: write the keys out" if key == "<<" else "use a text"
            document.problems.append((line, path, f"the key {key[:40]!r} is no text: {what}."))
        elif key in found:
            document.problems.append(
                (line, (*path, key), f"is there twice, first in line {document.lines[*path, key]}: keep one.")
            )
        else:
            document.lines[*path, key] = line
        # What stands below a second one is read, too, and dropped; its lines do not overwrite the first's.
        value = _value(events, next(events), (*path, key), document)
        found.setdefault(key, value)
    return found


def _plain(text: str) -> Any:
    """What a scalar without quotes is, by YAML 1.2's core schema, without octal, hexadecimal, inf and nan."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text
