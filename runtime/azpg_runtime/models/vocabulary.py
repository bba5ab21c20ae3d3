"""What a model must know of its tokenizer: that it loads, its highest id, its padding id."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.sources import unreadable

_PADDING_TOKENS = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json, as it is there.

    Raises `ModelUnreadable` if the file cannot be read and `ModelInvalid` if it is no tokenizer.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        return Tokenizer.from_buffer(raw)
    except BaseException as error:  # a broken charsmap is a Rust panic, which is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelInvalid(
            f"{path.name} is not a tokenizer: {reason}",
            hint="azpg reads the tokenizer.json of the tokenizers library, as models on the hub have it.",
        ) from None


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
