"""What a model must know of its tokenizer: that it loads, its highest id, its padding id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokenizers import Tokenizer, models

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.growth import find_growth, parts
from azpg_runtime.models.regexes import is_quick
from azpg_runtime.models.sources import File, read_file

_PADDING_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")
_LIBRARY_PANIC = "pyo3_runtime"

_LONGEST_WORD, _LONGEST_QUICK_WORD = 1000, 200
"""Characters of a word that WordPiece may look up; its time is their square. Models have 100 to 200."""

_MOST_ADDED = 100
"""Characters that mark a token as the beginning or the end of a word. Models have "##" or "</w>".

So many the token for unknown words may have, too, which stands for each of them in full.
"""

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
    find_growth(tokenizer)
    _check_words(tokenizer)
    _check_regexes(tokenizer)
    return tokenizer


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


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
    unknown = len(str(getattr(tokenizer.model, "unk_token", None) or ""))
    if unknown > _MOST_ADDED:
        raise ModelInvalid(
            f"the tokenizer writes {unknown} characters for each word that it does not know",
            detail=f"Allowed are {_MOST_ADDED}, for they are copied for each of these.",
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
