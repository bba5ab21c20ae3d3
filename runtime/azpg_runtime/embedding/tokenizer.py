"""Text to token ids, cut to what a model takes, without ever tokenising much more than that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from azpg_runtime.errors import EmbeddingCancelled
from azpg_runtime.models.execution import Ids
from azpg_runtime.models.vocabulary import load_tokenizer, padding_id


class Tokenizer:
    """The tokenizer of a model.

    Args:
        path: its tokenizer.json; truncation and padding that are set in it do not count.
        max_tokens: ids of a text at most, special ones included.
    """

    def __init__(self, path: Path, *, max_tokens: int) -> None:
        self._tokenizer = load_tokenizer(path)
        self.pad_id = padding_id(self._tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def encode(self, texts: Sequence[str], *, cancelled: Callable[[], bool] | None = None) -> list[Ids]:
        """The int64 ids of each text."""
        out = []
        for text in texts:
            if cancelled is not None and cancelled():
                raise EmbeddingCancelled("the embedding was cancelled")
            out.append(np.array(self._tokenizer.encode(text).ids, np.int64))
        return out
