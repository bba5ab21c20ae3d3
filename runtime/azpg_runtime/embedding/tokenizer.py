"""Text to token ids, cut to what a model takes, without tokenising much more than that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Encoding, models

from azpg_runtime.embedding.memory_budget import MemoryBudget
from azpg_runtime.embedding.rules import find_rules
from azpg_runtime.errors import EmbeddingCancelled, EmbeddingError, ModelInvalid, TextTooLong
from azpg_runtime.models.execution import Ids
from azpg_runtime.models.growth import find_growth
from azpg_runtime.models.vocabulary import is_linear, load_tokenizer, padding_id, tokenizing
from azpg_runtime.system.memory import check_available

_CHARACTERS_PER_TOKEN = 16
_GROWTH = 4
_REACH = 1000  # characters before a limit among which a place to cut is looked for
_LONGEST_WORD = 1 << 17  # beyond that, proving where a word's first tokens end is dearer than all of it
_LONGEST_ALONE = 4096  # characters that may hold up other threads, for a millisecond

QUICK_BYTES = 8192
"""Bytes that texts may become to take milliseconds only, if the time is in proportion to them."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes that a text may become; of a long one, a part, where the tokenizer has rules for that."""

_MEMORY_A_BYTE = 600
"""Bytes of memory that one of those takes at most: measured were 564, for a token of one character."""

_QUICK_TEXTS, _SLOW_TEXTS = (
    MemoryBudget(_MEMORY_A_BYTE * MOST_BYTES),
    MemoryBudget(_MEMORY_A_BYTE * MOST_BYTES),
)
"""What all tokenizers share. Those that may take hours for a text have a budget of their own."""

_WITHOUT_BUDGET = 64 * 1024
"""Bytes that a text may become without taking from a budget, and thus without waiting: 40 MB of memory."""


class Tokenizer:
    """The tokenizer of a model. Threads may share it.

    Args:
        path: its tokenizer.json; truncation and padding that are set in it do not count.
        max_tokens: ids of a text at most, special ones included.

    Raises `ModelUnreadable` or `ModelInvalid`.
    """

    def __init__(self, path: Path, *, max_tokens: int) -> None:
        self._pipeline = load_tokenizer(path)
        self.pad_id = padding_id(self._pipeline)
        """The id that batches are padded with."""
        self.is_linear = is_linear(self._pipeline)
        """Whether the time that a text takes is known to be in proportion to what it becomes."""
        self._growth = find_growth(self._pipeline)
        self._budget = _QUICK_TEXTS if self.is_linear else _SLOW_TEXTS
        self._pipeline.no_padding()
        self._pipeline.no_truncation()
        with tokenizing("the tokenizer cannot be used"):
            self._frame = self._find_frame()
            self._rules = None
            if self._frame is None:
                self._pipeline.enable_truncation(max_tokens)
            else:
                self._content = max_tokens - _special(self._frame, max_tokens)
                self._rules = find_rules(self._pipeline) if self.is_linear else None
        self._first_size = _CHARACTERS_PER_TOKEN * max_tokens

    def _find_frame(self) -> tuple[list[int], list[int]] | None:
        """The special ids before and after a text's own, or None if it is not that simple."""
        frames = []
        for probe in ("a", "a b"):
            bare = self._ids(probe, _never)
            full = self._run(probe, _never, special=True).ids
            places = [at for at in range(len(full)) if full[at : at + len(bare)] == bare]
            if not bare or len(places) != 1:
                return None
            frames.append((full[: places[0]], full[places[0] + len(bare) :]))
        return frames[0] if frames[0] == frames[1] else None

    def _ids(self, text: str, cancelled: Callable[[], bool]) -> list[int]:
        return self._run(text, cancelled).ids

    def _run(self, text: str, cancelled: Callable[[], bool], *, special: bool = False) -> Encoding:
        """Runs the library, which lets other threads go on only where it is given a batch."""
        size = self._growth.most(text)
        if self.is_linear and size <= QUICK_BYTES and len(text) <= _LONGEST_ALONE:
            return self._pipeline.encode(text, add_special_tokens=special)
        if size > MOST_BYTES:
            self._check(text)
        memory = _MEMORY_A_BYTE * (1 + min(size, MOST_BYTES))
        if size <= _WITHOUT_BUDGET:
            check_available(memory)
            return self._encode_apart(text, special=special)
        with self._budget.taking(memory, cancelled=cancelled):
            return self._encode_apart(text, special=special)

    def _encode_apart(self, text: str, *, special: bool) -> Encoding:
        (encoding,) = self._pipeline.encode_batch([text], add_special_tokens=special)
        return encoding

    def _check(self, text: str) -> None:
        """Raises `TextTooLong` for a text that becomes too large."""
        size = self._growth.measured(self._pipeline, text)
        if size > MOST_BYTES:
            raise TextTooLong(
                f"the tokenizer may make {size} bytes of a text; the limit is {MOST_BYTES}",
                detail=f"It cannot be cut before, and has {len(text.encode())} bytes.",
                hint="Divide long texts: only the beginning of a text reaches the model anyway.",
            )

    def is_quick(self, texts: Sequence[str]) -> bool:
        """Whether tokenising these texts is known to take milliseconds only, all together.

        Raises `UnicodeEncodeError` for a lone surrogate.
        """
        return (
            self.is_linear and self._frame is not None and sum(map(self._growth.most, texts)) <= QUICK_BYTES
        )

    def encode(self, texts: Sequence[str], *, cancelled: Callable[[], bool] | None = None) -> list[Ids]:
        """The int64 ids of each text, at most `max_tokens`: those of the whole text, cut at the end.

        Long texts are tokenised in part only where that provably gives the same.

        Args:
            texts: any number of any length.
            cancelled: asked between steps; True ends the work.

        Raises `EmbeddingCancelled`, `EmbeddingError` for a text that has no UTF-8, `TextTooLong` for one of
        which the tokenizer makes more than `MOST_BYTES`, `OutOfMemory` if there is none for a text, and
        `ModelInvalid` if the tokenizer fails on one.
        """
        return [self._encode(text, cancelled or _never) for text in texts]

    def _encode(self, text: str, cancelled: Callable[[], bool]) -> Ids:
        if cancelled():
            raise EmbeddingCancelled("the embedding was cancelled")
        try:
            with tokenizing("the tokenizer fails on a text"):
                if self._frame is None:
                    return np.array(self._run(text, cancelled, special=True).ids, np.int64)
                before, after = self._frame
                content = self._first_tokens(text, cancelled)
                return np.array([*before, *content[: self._content], *after], np.int64)
        except (TypeError, UnicodeEncodeError):
            raise EmbeddingError("a text holds a lone surrogate, which is no character") from None

    def _first_tokens(self, text: str, cancelled: Callable[[], bool]) -> list[int]:
        """The text's own ids, at least as many of them as count."""
        if self._rules is None:
            return self._ids(text, cancelled)
        size = self._first_size
        while size < len(text):
            found = self._settled(text, size, cancelled)
            if found is not None:
                return found
            if cancelled():
                raise EmbeddingCancelled("the embedding was cancelled")
            size *= _GROWTH
        return self._ids(text if len(text) <= self._first_size else self._rules.squeeze(text), cancelled)

    def _settled(self, text: str, size: int, cancelled: Callable[[], bool]) -> list[int] | None:
        """As many ids as count, from about `size` characters; None if these do not settle them."""
        assert self._rules is not None
        places = range(size, max(size - _REACH, 0), -1)
        whole_words = True
        at = next((at for at in places if self._rules.ends_word(text, at)), 0)
        if not at:
            whole_words = False
            at = next((at for at in places if self._rules.divides(text, at)), 0)
        if not at:
            return None
        part = self._rules.squeeze(text[:at])
        encoding = self._run(part, cancelled)
        ids = encoding.ids
        if len(ids) < self._content:
            return None
        if whole_words:
            return ids
        words = encoding.word_ids
        settled = words.index(words[-1])  # tokens before the last word, which the cut may have shortened
        if settled >= self._content or self._last_word_settled(
            part[encoding.offsets[settled][0] :], ids[settled:], self._content - settled
        ):
            return ids
        return None

    def _last_word_settled(self, raw: str, ids: list[int], needed: int) -> bool:
        """Whether the first `needed` ids of a word stay what they are however the word goes on."""
        model, normalizer = self._pipeline.model, self._pipeline.normalizer
        if len(raw) > _LONGEST_WORD:
            return False
        normal = raw if normalizer is None else normalizer.normalize_str(raw)
        words = self._pipeline.pre_tokenizer.pre_tokenize_str(normal)
        if len(words) != 1 or len(words[0][0]) > _LONGEST_WORD:
            return False
        word = words[0][0]
        if isinstance(model, models.WordPiece):
            return len(word) > model.max_input_chars_per_word  # one unknown token, and never more
        if not isinstance(model, models.Unigram) or [token.id for token in model.tokenize(word)] != ids:
            return False
        # The best way through a word passes one of any so many neighbouring places, and its way to there is
        # the best way to that place. If all of these begin alike, so does the best way through all of it.
        if len(word) <= self._longest_token:
            return False
        ends = range(len(word) - self._longest_token, len(word))
        return all(
            [token.id for token in model.tokenize(word[:end])][:needed] == ids[:needed] for end in ends
        )

    @cached_property
    def _longest_token(self) -> int:
        return max(map(len, self._pipeline.get_vocab(with_added_tokens=True)))


def _special(frame: tuple[list[int], list[int]], max_tokens: int) -> int:
    """How many special tokens a text gets. Raises `ModelInvalid` if they alone are too many."""
    count = sum(map(len, frame))
    if count > max_tokens:
        raise ModelInvalid(
            f"the tokenizer gives each text {count} special tokens; the model takes {max_tokens} tokens"
        )
    return count


def _never() -> bool:
    return False
