"""The public face of embedding: texts in, vectors out, in the same order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np
import numpy.typing as npt
import onnxruntime

from azpg_runtime.embedding.batching import TOKEN_BUDGET, pack
from azpg_runtime.embedding.session import Session
from azpg_runtime.embedding.tokenizer import Tokenizer
from azpg_runtime.errors import EmbeddingCancelled, TextTooLong
from azpg_runtime.models import StoredModel

MAX_TEXT = 16 * 1024 * 1024
"""The longest text, in bytes of UTF-8."""

_LONGEST_CHARACTER = 4


class Embedder:
    """A loaded model with its tokenizer. Holds no thread of its own; threads may share it.

    Args:
        model: what to load.
        intra_op_threads: threads that share one operator; 0 for one on each usable CPU.
        inter_op_threads: threads for operators side by side.
        spin: whether idle threads wait busily.

    Raises `ModelInvalid`, `ModelUnreadable`, `OutOfMemory` or `OutOfThreads` if the model cannot be loaded.
    """

    def __init__(
        self,
        model: StoredModel,
        *,
        intra_op_threads: int = 0,
        inter_op_threads: int = 1,
        spin: bool = False,
    ) -> None:
        self.model = model
        self.tokenizer = Tokenizer(model.tokenizer, max_tokens=model.description.max_tokens)
        self.session = self._open(intra_op_threads, inter_op_threads, spin)

    def _open(self, intra_op_threads: int, inter_op_threads: int, spin: bool) -> Session:
        return Session(
            self.model,
            padding=self.tokenizer.pad_id,
            intra_op_threads=intra_op_threads,
            inter_op_threads=inter_op_threads,
            spin=spin,
        )

    def with_threads(self, *, intra_op_threads: int, inter_op_threads: int, spin: bool) -> Embedder:
        """Another one of the same model, which shares the tokenizer. Raises as the construction does."""
        other = copy(self)
        other.session = other._open(intra_op_threads, inter_op_threads, spin)
        return other

    @property
    def dimensions(self) -> int:
        """Components of a vector."""
        return self.model.description.dimensions

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that count, including the special ones."""
        return self.model.description.max_tokens

    @staticmethod
    def check(texts: Sequence[str]) -> None:
        """Raises `TextTooLong` if a text is over `MAX_TEXT` bytes of UTF-8."""
        for text in texts:
            if len(text) * _LONGEST_CHARACTER <= MAX_TEXT:
                continue
            size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            if size > MAX_TEXT:
                raise TextTooLong(
                    f"input is {size} bytes long; the limit is {MAX_TEXT}",
                    hint="Divide long texts: only the beginning of a text reaches the model anyway.",
                )

    def embed(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        budget: int = TOKEN_BUDGET,
    ) -> npt.NDArray[np.float32]:
        """The vectors of `texts`, float32 [len(texts), dimensions], in their order.

        Args:
            texts: any number, each at most `MAX_TEXT` bytes; beyond `max_tokens` a text is cut.
            progress: called with the number of texts that are done, after each micro-batch.
            cancelled: asked before each micro-batch; True ends the work.
            budget: padded tokens of one micro-batch.

        Raises `TextTooLong`, `EmbeddingCancelled`, and `ModelInvalid` if the model fails.
        """
        self.check(texts)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        ids = self.tokenizer.encode(texts, cancelled=cancelled)
        done = 0
        options = onnxruntime.RunOptions()
        for batch in pack([len(text) for text in ids], budget=budget):
            if cancelled is not None and cancelled():
                raise EmbeddingCancelled("the embedding was cancelled")
            vectors[batch] = self.session.run([ids[index] for index in batch], terminate=options)
            done += len(batch)
            if progress is not None:
                progress(done)
        return vectors
