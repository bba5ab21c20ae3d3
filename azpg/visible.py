"""Characters that command a terminal, written as what Python and JSON write for them."""

from __future__ import annotations

import re
import unicodedata

_COMMANDS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories: control characters, those that format, such as by turning the direction of writing
round, halves of characters, and ends of lines and paragraphs."""
_JOINERS = "\u200c\u200d"
"""What words of some languages need, and emojis of several parts."""
_CANDIDATE = re.compile(r"[^ -~]")


def visible(text: str, *, lines: bool = False) -> str:
    r"""A text in which nothing commands a terminal: such characters are ``\x1b``, ``\r``, ``\u202e``.

    Args:
        text: whatever somebody wrote.
        lines: whether ends of lines and tabs stay what they are.
    """
    if text.isprintable():
        return text
    return _CANDIDATE.sub(lambda match: _shown(match[0], lines=lines), text)


def _shown(character: str, *, lines: bool) -> str:
    if not commands(character) or (lines and character in "\n\t"):
        return character
    return ascii(character)[1:-1]


def visible_json(text: str) -> str:
    """A JSON document that means the same, in which no string has such a character as itself."""
    return _CANDIDATE.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    if character == "\n" or not commands(character):
        return character
    raw = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{raw[start : start + 4]}" for start in range(0, len(raw), 4))


def commands(character: str) -> bool:
    """Whether a character is more to a terminal than something to show."""
    return unicodedata.category(character) in _COMMANDS and character not in _JOINERS
