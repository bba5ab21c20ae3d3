"""One model as it lies in a store's content folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.description import MODEL, TOKENIZER, ModelDescription
from azpg_runtime.models.sources import unreadable

DESCRIPTION = "description.json"

_TOKENIZER_GROWTH = 20
"""A vocabulary in memory against its JSON: 10 measured for BPE, 17 for WordPiece and Unigram."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the store: `name` is None where it was asked for by content; `folder` holds its files."""

    name: str | None
    folder: Path
    description: ModelDescription

    @classmethod
    def open(cls, folder: Path, *, name: str | None) -> StoredModel:
        """Reads the description in `folder`, which is named after the digest.

        Raises `ModelUnreadable`, and `ModelInvalid` for a folder that does not hold what its name says.
        """
        try:
            description = ModelDescription.from_json((folder / DESCRIPTION).read_bytes())
        except OSError as error:
            raise unreadable(folder / DESCRIPTION, error) from None
        if description.digest != folder.name:
            raise ModelInvalid(f"{folder} holds another model than its name says")
        return cls(name, folder, description)

    @property
    def digest(self) -> str:
        """What the content is known by, everywhere."""
        return self.description.digest

    @property
    def memory(self) -> int:
        """Bytes that the model takes when it is loaded, estimated from its files.

        Graph and weights count as they lie on disk: ONNX Runtime maps or copies them. The tokenizer counts
        as `_TOKENIZER_GROWTH` times its file. Measured: 98 MB against 101 of all-MiniLM-L6-v2.

        Raises `ModelUnreadable`.
        """
        try:
            sizes = {entry.name: entry.stat().st_size for entry in self.folder.iterdir()}
        except OSError as error:
            raise unreadable(self.folder, error) from None
        tokenizer = sizes.pop(TOKENIZER, 0)
        return sum(sizes.values()) + _TOKENIZER_GROWTH * tokenizer

    @property
    def onnx(self) -> Path:
        """The graph: input_ids and attention_mask, [n, L], to one float32 [n, D]."""
        return self.folder / MODEL

    @property
    def tokenizer(self) -> Path:
        """The tokenizer as its source had it."""
        return self.folder / TOKENIZER
