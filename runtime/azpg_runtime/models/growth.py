"""How many times as large a tokenizer may make a text before it looks for tokens.

Its memory and its time follow that.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from azpg_runtime.errors import ModelInvalid

# One character of a regular expression, perhaps repeated: itself, escaped, or of a class.
_ATOM = re.compile(
    r"(?:\\[pP]\{\w+\}|\\[^\w]|\\[dswntrDSW]|\[[^\[\]\\]+\]|[^\\^$*+?{}\[\]|()])(?:\+|\{([1-9]\d{0,2})(?:,\d*)?\})?"
)

_MOST_BROUGHT = 32
"""Times that the texts which a tokenizer.json brings may let a text grow: those of Replace and Prepend.

Usual ones put "▁" before a text and for each space, which is 12 times at most.
"""

_MOST = 1000
"""Times that a tokenizer may let a text grow at all. ALBERT's does 726 times; others' less than 50 times."""

_UNICODE = {"NFC": 3.0, "NFD": 3.0, "NFKC": 11.0, "NFKD": 11.0, "Lowercase": 1.5, "BertNormalizer": 5.0}
"""Bytes of UTF-8 that one becomes at most, by Unicode's tables, in which U+FDFA is the worst. ASCII stays.

BertNormalizer decomposes, and puts spaces round Chinese characters.
"""

_LONGEST_SEEN = 64
"""Characters of a match that is not cut in two often where a text is normalised in pieces."""

_PIECE = 1 << 16
"""Bytes that a piece may become."""


@dataclass(frozen=True, slots=True)
class Growth:
    """The bytes of UTF-8 that one byte of a text becomes at most.

    Attributes:
        times: of any text.
        ascii_times: of a text of ASCII.
        beyond_normalizing: what is in `times` besides what the normalizer shows of a text in pieces.
    """

    times: float
    ascii_times: float
    beyond_normalizing: float

    def most(self, text: str) -> int:
        """The bytes that a text becomes at most. Raises `UnicodeEncodeError` for a lone surrogate."""
        if text.isascii():
            return int(len(text) * self.ascii_times)
        return int(len(text.encode()) * self.times)

    def measured(self, tokenizer: Tokenizer, text: str) -> int:
        """The bytes that a text becomes, nearly: it is normalised, in pieces that take little memory."""
        normalizer = tokenizer.normalizer
        if normalizer is None:
            return self.most(text)
        step = max(16, int(_PIECE / self.times))
        pieces = (text[at : at + step] for at in range(0, len(text), step))
        normal = sum(len(normalizer.normalize_str(piece).encode()) for piece in pieces)
        return min(self.most(text), int(normal * self.beyond_normalizing))


def parts(component: Any, inner: str) -> list[dict[str, Any]]:
    """The JSON of a normalizer or pre-tokenizer, sequences flattened; `inner` is the key of their parts."""
    if component is None:
        return []

    def flatten(part: dict[str, Any]) -> list[dict[str, Any]]:
        if part["type"] != "Sequence":
            return [part]
        return [leaf for child in part[inner] for leaf in flatten(child)]

    return flatten(json.loads(component.__getstate__()))


def find_growth(tokenizer: Tokenizer) -> Growth:
    """How a tokenizer lets texts grow. Raises `ModelInvalid` if that is far more than usual."""
    normalizers = parts(tokenizer.normalizer, "normalizers")
    factors = [_normalizer_growth(step) for step in normalizers]
    splitting = [_pre_tokenizer_growth(step) for step in parts(tokenizer.pre_tokenizer, "pretokenizers")]
    brought = 1.0
    hidden = float(np.prod(splitting))
    for step, (growth, _) in zip(normalizers, factors, strict=True):
        if step["type"] in ("Replace", "Prepend"):
            brought *= growth
            hidden *= 1.0 if _is_seen(step) else growth
    times, ascii_times = _times(normalizers, factors, splitting)
    if brought > _MOST_BROUGHT or times > _MOST:
        raise ModelInvalid(
            f"the tokenizer lets a text grow {times:.3g} times",
            detail=f"Allowed are {_MOST_BROUGHT} times by what it replaces and puts before a text, "
            f"and {_MOST} times by all of its steps.",
            hint="Take the tokenizer.json that belongs to the model, from where the model is from.",
        )
    return Growth(times, ascii_times, hidden)


def _times(
    steps: list[dict[str, Any]], factors: list[tuple[float, float]], splitting: list[float]
) -> tuple[float, float]:
    """The growth of any text, and that of one of ASCII, which may become another one on the way."""
    times, ascii_times, is_ascii = 1.0, 1.0, True
    for step, (growth, ascii_growth) in zip(steps, factors, strict=True):
        times *= growth
        ascii_times *= ascii_growth if is_ascii else growth
        is_ascii = is_ascii and (
            step["type"] in _UNICODE or str(step.get("content", step.get("prepend", ""))).isascii()
        )
        is_ascii = is_ascii and step["type"] not in ("Precompiled", "ByteLevel")
    split = float(np.prod(splitting))
    return times * split, ascii_times * split


def _normalizer_growth(step: dict[str, Any]) -> tuple[float, float]:
    """The growth of any text and that of one of ASCII."""
    kind = step["type"]
    growth = ascii_growth = 1.0
    if kind in _UNICODE:
        growth = _UNICODE[kind]
    elif kind == "Replace":
        growth = ascii_growth = _replacing(step["pattern"], len(step["content"].encode()))
    elif kind == "Prepend":  # also before each piece between two added tokens
        growth = ascii_growth = 1.0 + len(step["prepend"].encode())
    elif kind == "ByteLevel":
        growth = ascii_growth = 2.0
    elif kind == "Precompiled":
        growth, ascii_growth = (_precompiled(step["precompiled_charsmap"], last) for last in (0xFF, 0x7F))
    return max(1.0, growth), max(1.0, ascii_growth)


def _pre_tokenizer_growth(step: dict[str, Any]) -> float:
    if step["type"] == "ByteLevel":
        return 4.0 if step["add_prefix_space"] else 2.0
    if step["type"] == "Metaspace":
        mark = len(step["replacement"].encode())
        return 1.0 + mark if step["prepend_scheme"] != "never" else float(mark)
    return 1.0


def _replacing(pattern: dict[str, str], content: int) -> float:
    """How many bytes at most are there for one after a pattern was replaced by `content` bytes."""
    least = _least(pattern)
    return content / least if least else 1 + content  # what matches nothing does so before each character


def _least(pattern: dict[str, str]) -> int:
    """How many characters a pattern surely matches; 0 for one that is not simple."""
    if "String" in pattern:
        return len(pattern["String"])
    expression = pattern["Regex"]
    if not re.fullmatch(f"(?:{_ATOM.pattern})+", expression):
        return 0
    return sum(int(count or 1) for count in _ATOM.findall(expression))


def _is_seen(step: dict[str, Any]) -> bool:
    """Whether a text in pieces shows what the whole of it becomes."""
    return step["type"] == "Replace" and 0 < _least(step["pattern"]) <= _LONGEST_SEEN


def _precompiled(table: str, last: int) -> float:
    """Bytes that stand for one at most in a sentencepiece table: a trie, then texts that end with 0.

    Args:
        table: in base64.
        last: the highest byte with which a key may begin.
    """
    raw = base64.b64decode(table)
    size = int.from_bytes(raw[:4], "little")
    units = np.frombuffer(raw[4 : 4 + size - size % 4], "<u4").astype(np.int64)
    texts = np.frombuffer(raw[4 + size :], np.uint8)
    ends = np.append(np.flatnonzero(texts == 0), len(texts))
    longest = int(np.diff(ends, prepend=-1).max())
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    labels = units & (1 << 31 | 0xFF)
    new = np.ones(len(units), bool)
    growth, depth, places = 1.0, 0, offsets[:1]
    while len(places) and longest > growth * (depth + 1):
        depth += 1
        found = [
            _children(places, label, labels, new) for label in range(1, 1 + (last if depth == 1 else 0xFF))
        ]
        nodes = np.unique(np.concatenate(found))
        new[nodes] = False  # by a longer way to there, nothing grows more
        places = nodes ^ offsets[nodes]
        leaves = places[(units[nodes] >> 8 & 1 == 1) & (places < len(units))]
        values = units[leaves] & ~(1 << 31)
        values = values[values < len(texts)]
        if len(values):
            growth = max(growth, float((ends[np.searchsorted(ends, values)] - values).max()) / depth)
    return growth


def _children(places: Any, label: int, labels: Any, new: Any) -> Any:
    nodes = places ^ label
    nodes = nodes[nodes < len(labels)]
    return nodes[(labels[nodes] == label) & new[nodes]]
