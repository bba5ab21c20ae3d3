"""What a model must know of its tokenizer: that it loads, its highest id, its padding id."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer, models

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.regexes import is_quick
from azpg_runtime.models.sources import File, read_file

_PADDING_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")
_LIBRARY_PANIC = "pyo3_runtime"

# One character of a regular expression, perhaps repeated: itself, escaped, or of a class.
_ATOM = re.compile(
    r"(?:\\[pP]\{\w+\}|\\[^\w]|\\[dswntrDSW]|\[[^\[\]\\]+\]|[^\\^$*+?{}\[\]|()])(?:\+|\{([1-9]\d{0,2})(?:,\d*)?\})?"
)

_MOST_GROWTH = 32
"""How many times as many characters the steps of a normalizer that replace may make of a text, together."""

_UNICODE_GROWTH = 18
"""Characters that one stands for at most in Unicode's own tables: U+FDFA. They count as no growth."""

_MOST_PREPENDED = 1000
"""Characters that a normalizer may put before a text."""

_LONGEST_WORD, _LONGEST_QUICK_WORD = 1000, 200
"""Characters of a word that WordPiece may look up; its time is their square. Models have 100 to 200."""

_MOST_ADDED = 100
"""Characters that mark a token as the beginning or the end of a word. Models have "##" or "</w>"."""

_LONGEST_QUICK_TOKEN = 64
"""Characters of a Unigram model's token: at each place of a text, all are tried that begin there."""

_MOST_SLOW, _MOST_QUICK = 32, 32
"""Regular expressions that may be slow, which a tokenizer may have; and steps of one that counts as quick.

Usual ones have fewer than ten of both. The library allows each of the former 0.1 s at each place of a text.
"""


@contextmanager
def tokenizing(what: str) -> Iterator[None]:
    """Turns a panic of the library, which is no Exception, into `ModelInvalid` that begins with `what`."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != _LIBRARY_PANIC:
            raise
        raise ModelInvalid(
            f"{what}: {_first_line(error)}",
            hint="Take the tokenizer.json that belongs to the model, from where the model is from.",
        ) from None


def load_tokenizer(file: File) -> Tokenizer:
    """The tokenizer in a tokenizer.json, as it is there.

    Raises `ModelUnreadable` if the file cannot be read, and `ModelInvalid` if it is no tokenizer or one whose
    work has no bound.
    """
    raw = read_file(file)
    try:
        with tokenizing(f"{file.name} is not a tokenizer"):  # a broken charsmap
            tokenizer = Tokenizer.from_buffer(raw)
    except Exception as error:
        if isinstance(error, ModelInvalid):
            raise
        raise ModelInvalid(
            f"{file.name} is not a tokenizer: {_first_line(error)}",
            hint="azpg reads the tokenizer.json of the tokenizers library, as models on the hub have it.",
        ) from None
    _check_growth(tokenizer)
    _check_words(tokenizer)
    _check_regexes(tokenizer)
    return tokenizer


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


def parts(component: Any, inner: str) -> list[dict[str, Any]]:
    """The JSON of a normalizer or pre-tokenizer, sequences flattened; `inner` is the key of their parts."""
    if component is None:
        return []

    def flatten(part: dict[str, Any]) -> list[dict[str, Any]]:
        if part["type"] != "Sequence":
            return [part]
        return [leaf for child in part[inner] for leaf in flatten(child)]

    return flatten(json.loads(component.__getstate__()))


def _check_growth(tokenizer: Tokenizer) -> None:
    """Raises `ModelInvalid` for normalizers that make far more of a text than it was: memory has an end."""
    growth, prepended = 1.0, 0
    for step in parts(tokenizer.normalizer, "normalizers"):
        if step["type"] == "Replace":
            growth *= max(1.0, _growth(step["pattern"], len(step["content"])))
        elif step["type"] == "Precompiled":
            growth *= max(1.0, _longest_replacement(step["precompiled_charsmap"]) / _UNICODE_GROWTH)
        elif step["type"] == "Prepend":
            prepended += len(step["prepend"])
    if growth > _MOST_GROWTH or prepended > _MOST_PREPENDED:
        raise ModelInvalid(
            f"the tokenizer lets a text grow {growth:.3g} times, and by {prepended} characters",
            detail=f"Allowed are {_MOST_GROWTH} times and {_MOST_PREPENDED} characters.",
            hint="Take the tokenizer.json that belongs to the model, from where the model is from.",
        )


def _growth(pattern: dict[str, str], content: int) -> float:
    """How many characters at most are there for one after a pattern was replaced by `content` characters."""
    if pattern.get("String"):
        return content / len(pattern["String"])
    least = _least(pattern.get("Regex", ""))
    return content / least if least else 1 + content  # what matches nothing does so before each character


def _longest_replacement(table: str) -> int:
    """Characters of the longest text for one in a sentencepiece table: a trie, then texts that end with 0."""
    raw = base64.b64decode(table)
    size = int.from_bytes(raw[:4], "little")
    return max(len(text.decode(errors="replace")) for text in raw[4 + size :].split(b"\0"))


def _least(expression: str) -> int:
    """How many characters a regular expression surely matches; 0 for one that is not simple."""
    if not re.fullmatch(f"(?:{_ATOM.pattern})+", expression):
        return 0
    return sum(int(count or 1) for count in _ATOM.findall(expression))


def _check_words(tokenizer: Tokenizer) -> None:
    longest = getattr(tokenizer.model, "max_input_chars_per_word", 0)
    if longest > _LONGEST_WORD:
        raise ModelInvalid(
            f"the tokenizer looks up words of up to {longest} characters",
            detail=f"Allowed are {_LONGEST_WORD}, for its time is the square of that.",
            hint="Lower max_input_chars_per_word in tokenizer.json, as models have it to 100.",
        )
    affixes = ("continuing_subword_prefix", "end_of_word_suffix")
    added = sum(len(getattr(tokenizer.model, name, None) or "") for name in affixes)
    if added > _MOST_ADDED:
        raise ModelInvalid(
            f"the tokenizer adds {added} characters to its tokens",
            detail=f"Allowed are {_MOST_ADDED}, for they are copied for each look into the vocabulary.",
            hint="Take the tokenizer.json that belongs to the model, from where the model is from.",
        )


def _check_regexes(tokenizer: Tokenizer) -> None:
    slow = sum(not is_quick(one) for one in _regexes(_steps(tokenizer)))
    if slow > _MOST_SLOW:
        raise ModelInvalid(
            f"the tokenizer has {slow} regular expressions, which together may take very long",
            detail=f"Allowed are {_MOST_SLOW} of more than one character.",
            hint="Take the tokenizer.json that belongs to the model, from where the model is from.",
        )


def is_linear(tokenizer: Tokenizer) -> bool:
    """Whether the time that a text takes is known to be in proportion to it, and short."""
    steps, model = _steps(tokenizer), tokenizer.model
    if len(steps) > _MOST_QUICK or not all(map(is_quick, _regexes(steps))):
        return False
    if isinstance(model, models.Unigram):
        pieces = map(tokenizer.id_to_token, range(tokenizer.get_vocab_size(with_added_tokens=False)))
        return all(len(piece or "") <= _LONGEST_QUICK_TOKEN for piece in pieces)
    return getattr(model, "max_input_chars_per_word", 0) <= _LONGEST_QUICK_WORD


def _steps(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    return [*parts(tokenizer.normalizer, "normalizers"), *parts(tokenizer.pre_tokenizer, "pretokenizers")]


def _regexes(steps: list[dict[str, Any]]) -> list[str]:
    """The regular expressions that a tokenizer.json brings, not those that the library has built in."""
    return [step["pattern"]["Regex"] for step in steps if "Regex" in (step.get("pattern") or {})]


def highest_id(tokenizer: Tokenizer) -> int:
    """The highest token id that the tokenizer can give. Raises `ModelInvalid` if it knows no token."""
    ids = tokenizer.get_vocab(with_added_tokens=True).values()
    if not ids:
        raise ModelInvalid("the tokenizer has an empty vocabulary")
    return max(ids)


def padding_id(tokenizer: Tokenizer) -> int:
    """The id to pad with: the tokenizer's own, which a model's config.json may contradict.

    Padding is masked, so that 0 is safe where the tokenizer has none.
    """
    padding = tokenizer.padding
    if padding is not None:
        return int(padding["pad_id"])
    for token in _PADDING_TOKENS:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return found
    return 0


def misfit(highest: int, rows: int) -> ModelInvalid:
    """The error for a tokenizer whose ids a model does not know."""
    return ModelInvalid(
        "the tokenizer does not fit the model",
        detail=f"It gives token ids up to {highest}, the model knows those below {rows}.",
        hint="Take model and tokenizer.json from the same place.",
    )
