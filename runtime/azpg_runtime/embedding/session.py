"""A loaded model: token ids in, vectors out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from azpg_runtime.errors import EmbeddingCancelled, ModelInvalid, OutOfMemory
from azpg_runtime.models import StoredModel
from azpg_runtime.models.execution import (
    Ids,
    feeds,
    first_line,
    input_types,
    open_session,
    out_of_memory,
)
from azpg_runtime.models.vocabulary import load_tokenizer, padding_id

_FATAL = 4


class Session:
    """ONNX Runtime with one model on the CPU.

    Threads may share a session; runs of several threads share its one pool of threads.

    Args:
        model: what to load.
        padding: token id to pad with; by default the tokenizer's own, which is then read for it.
        intra_op_threads: threads that share one operator; 0 for one on each usable CPU.
        inter_op_threads: threads for operators side by side.
        spin: whether idle threads wait busily.

    Raises `ModelInvalid`, `ModelUnreadable`, `OutOfMemory` or `OutOfThreads` if the model cannot be loaded.
    """

    def __init__(
        self,
        model: StoredModel,
        *,
        padding: int | None = None,
        intra_op_threads: int = 0,
        inter_op_threads: int = 1,
        spin: bool = False,
    ) -> None:
        self._padding = padding_id(load_tokenizer(model.tokenizer)) if padding is None else padding
        self._dimensions = model.description.dimensions
        self._session: onnxruntime.InferenceSession | None = open_session(
            model.onnx, intra_op_threads=intra_op_threads, inter_op_threads=inter_op_threads, spin=spin
        )
        self._types = input_types(self._session)
        self._outputs = [self._session.get_outputs()[0].name]

    def run(
        self, ids: Sequence[Ids], *, terminate: onnxruntime.RunOptions | None = None
    ) -> npt.NDArray[np.float32]:
        """Vectors of texts, in one run of the model.

        Args:
            ids: int64 token ids of each text, special ones included, at least one each.
            terminate: ends the run soon after its `terminate` is set by another thread.

        Returns:
            float32 of shape [len(ids), dimensions].

        Raises `EmbeddingCancelled` for a run that was terminated, `OutOfMemory`, and `ModelInvalid` for a
        model that fails or gives no finite vectors.
        """
        if not ids:
            return np.empty((0, self._dimensions), np.float32)
        assert self._session is not None, "the session is closed"
        options = terminate or onnxruntime.RunOptions()
        options.log_severity_level = _FATAL
        if options.terminate:
            raise EmbeddingCancelled("the embedding was cancelled")
        try:
            (rows,) = self._session.run(self._outputs, feeds(self._types, ids, self._padding), options)
        except Exception as error:
            failure = _failure(error, terminated=options.terminate)
        else:
            return self._checked(rows, len(ids))
        raise failure  # not from within: an error that is kept must not keep ONNX Runtime's memory

    def close(self) -> None:
        """Frees the model's memory at once. Nobody may run it any more."""
        self._session = None

    def _checked(self, rows: object, count: int) -> npt.NDArray[np.float32]:
        if not isinstance(rows, np.ndarray) or rows.shape != (count, self._dimensions):
            shape = list(rows.shape) if isinstance(rows, np.ndarray) else type(rows).__name__
            raise ModelInvalid(f"the model gave {shape} where {[count, self._dimensions]} was expected")
        if rows.dtype != np.float32 or not np.isfinite(rows).all():
            raise ModelInvalid("the model gave a vector that is not of finite float32")
        return rows


def _failure(error: Exception, *, terminated: bool) -> Exception:
    if terminated:
        return EmbeddingCancelled("the embedding was cancelled")
    if out_of_memory(error):
        return OutOfMemory(
            "the memory does not suffice to run the model",
            hint="Send shorter texts, or raise the limit: `azpg down`, then `azpg up --model-memory MB`.",
        )
    return ModelInvalid(f"the model failed: {first_line(error)}")
