"""How a model's vectors are made besides its weights, read from sentence-transformers' files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.description import TOKENIZER, Pooling
from azpg_runtime.models.sources import read_json, read_json_if_there, whole_number

_DEFAULT_MAX_TOKENS = 512
_UNLIMITED = 1_000_000  # tokenizer_config.json writes 1e30 where there is no limit
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}  # positions begin at 2 there


@dataclass(frozen=True, slots=True)
class Recipe:
    """Tokens that count (special ones included), how token vectors become one, and whether to normalise."""

    max_tokens: int
    pooling: Pooling
    normalize: bool


def read_recipe(folder: Path, *, tokenizer: Path | None = None) -> Recipe:
    """The recipe of the model in `folder`; its tokenizer is there as tokenizer.json, or `tokenizer`.

    Where sentence-transformers' files are missing: mean pooling and normalised vectors, and as many tokens as
    the model and its tokenizer say they take.

    Raises `ModelInvalid` for a model that is made in a way azpg does not know.
    """
    pooling: Pooling = "mean"
    normalize = True
    modules = folder / "modules.json"
    if modules.is_file():
        pooling, normalize = _modules(folder)
    return Recipe(_max_tokens(folder, tokenizer or folder / TOKENIZER), pooling, normalize)


def _modules(folder: Path) -> tuple[Pooling, bool]:
    pooling: Pooling | None = None
    normalize = False
    for kind, path in _module_list(folder / "modules.json"):
        match kind:
            case "Transformer":
                pass
            case "Pooling":
                pooling = _pooling(folder, path)
            case "Normalize":
                normalize = True
            case _:
                raise ModelInvalid(
                    f"modules.json has a module {kind!r}",
                    detail="Known are Transformer, Pooling and Normalize.",
                    hint="Export all of it to ONNX with its sentence embedding as output, and add that.",
                )
    if pooling is None:
        raise ModelInvalid("modules.json has no Pooling, so there is no one vector for a text")
    return pooling, normalize


def _module_list(path: Path) -> list[tuple[str, str]]:
    try:
        entries: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise ModelInvalid("modules.json is not JSON") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelInvalid("modules.json is not a list of modules")
    return [(str(entry.get("type")).rpartition(".")[2], str(entry.get("path", ""))) for entry in entries]


def _pooling(folder: Path, path: str) -> Pooling:
    inside = PurePosixPath(path)  # by its name: files of the hub's cache are links out of their folder
    if inside.is_absolute() or ".." in inside.parts:
        raise ModelInvalid(f"modules.json names the folder {path!r}, which is outside the model")
    settings = read_json_if_there(folder / path / "config.json") or {"pooling_mode_mean_tokens": True}
    chosen = {key for key, value in settings.items() if key.startswith("pooling_mode") and value is True}
    if isinstance(settings.get("pooling_mode"), str):  # newer releases write one word
        chosen = {f"pooling_mode_{settings['pooling_mode']}"}
    if chosen in ({"pooling_mode_mean_tokens"}, {"pooling_mode_mean"}):
        return "mean"
    if chosen in ({"pooling_mode_cls_token"}, {"pooling_mode_cls"}):
        return "cls"
    raise ModelInvalid(f"pooling {sorted(chosen)} is not supported; mean and cls are")


def _max_tokens(folder: Path, tokenizer_json: Path) -> int:
    sentence = read_json_if_there(folder / "sentence_bert_config.json")
    if sentence is not None and sentence.get("max_seq_length") is not None:
        return whole_number(sentence, "max_seq_length", "sentence_bert_config.json")
    limits = []
    config = read_json_if_there(folder / "config.json")
    if config is not None and "max_position_embeddings" in config:
        positions = whole_number(config, "max_position_embeddings", "config.json")
        limits.append(positions - 2 if config.get("model_type") in _OFFSET_POSITIONS else positions)
    tokenizer = read_json_if_there(folder / "tokenizer_config.json")
    limit = None if tokenizer is None else tokenizer.get("model_max_length")
    if isinstance(limit, int | float) and 1 <= limit < _UNLIMITED:
        limits.append(int(limit))
    return min(limits) if limits else truncation(read_json(tokenizer_json))


def truncation(tokenizer: dict[str, Any]) -> int:
    """The length at which a tokenizer.json cuts by itself, or a default."""
    settings = tokenizer.get("truncation")
    length = settings.get("max_length") if isinstance(settings, dict) else None
    return length if type(length) is int and length >= 1 else _DEFAULT_MAX_TOKENS
