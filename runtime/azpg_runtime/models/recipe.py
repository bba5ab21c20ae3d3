"""How a model's vectors are made besides its weights, read from sentence-transformers' files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.description import Pooling
from azpg_runtime.models.foreign_folder import ForeignFile
from azpg_runtime.models.sources import read_file, read_json, read_json_if_there, whole_number

_DEFAULT_MAX_TOKENS = 512
_UNLIMITED = 1_000_000  # tokenizer_config.json writes 1e30 where there is no limit
_OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "mpnet"}  # positions begin at 2 there


@dataclass(frozen=True, slots=True)
class Recipe:
    """Tokens that count (special ones included), how token vectors become one, and whether to normalise."""

    max_tokens: int
    pooling: Pooling
    normalize: bool


def read_recipe(tokenizer: ForeignFile) -> Recipe:
    """The recipe of the model whose tokenizer.json is given, from the files beside it.

    Where sentence-transformers' files are missing: mean pooling and normalised vectors, and as many tokens as
    the model and its tokenizer say they take.

    Raises `ModelInvalid` for a model that is made in a way azpg does not know.
    """
    pooling: Pooling = "mean"
    normalize = True
    modules = tokenizer.beside("modules.json")
    if modules.exists():
        pooling, normalize = _modules(modules)
    return Recipe(_max_tokens(tokenizer), pooling, normalize)


def _modules(modules: ForeignFile) -> tuple[Pooling, bool]:
    pooling: Pooling | None = None
    normalize = False
    for kind, path in _module_list(modules):
        match kind:
            case "Transformer":
                pass
            case "Pooling":
                pooling = _pooling(modules, path)
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


def _module_list(modules: ForeignFile) -> list[tuple[str, str]]:
    try:
        entries: object = json.loads(read_file(modules))
    except (ValueError, RecursionError):
        raise ModelInvalid("modules.json is not JSON") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ModelInvalid("modules.json is not a list of modules")
    return [(str(entry.get("type")).rpartition(".")[2], str(entry.get("path", ""))) for entry in entries]


def _pooling(modules: ForeignFile, path: str) -> Pooling:
    inside = PurePosixPath(path)
    if inside.is_absolute() or ".." in inside.parts:
        raise ModelInvalid(f"modules.json names the folder {path!r}, which is outside the model")
    config = read_json_if_there(modules.beside(str(inside / "config.json")))
    settings = config or {"pooling_mode_mean_tokens": True}
    chosen = {key for key, value in settings.items() if key.startswith("pooling_mode") and value is True}
    if isinstance(settings.get("pooling_mode"), str):  # newer releases write one word
        chosen = {f"pooling_mode_{settings['pooling_mode']}"}
    if chosen in ({"pooling_mode_mean_tokens"}, {"pooling_mode_mean"}):
        return "mean"
    if chosen in ({"pooling_mode_cls_token"}, {"pooling_mode_cls"}):
        return "cls"
    raise ModelInvalid(f"pooling {sorted(chosen)} is not supported; mean and cls are")


def _max_tokens(tokenizer: ForeignFile) -> int:
    sentence = read_json_if_there(tokenizer.beside("sentence_bert_config.json"))
    if sentence is not None and sentence.get("max_seq_length") is not None:
        return whole_number(sentence, "max_seq_length", "sentence_bert_config.json")
    limits = []
    config = read_json_if_there(tokenizer.beside("config.json"))
    if config is not None and "max_position_embeddings" in config:
        positions = whole_number(config, "max_position_embeddings", "config.json")
        limits.append(positions - 2 if config.get("model_type") in _OFFSET_POSITIONS else positions)
    settings = read_json_if_there(tokenizer.beside("tokenizer_config.json"))
    limit = None if settings is None else settings.get("model_max_length")
    if isinstance(limit, int | float) and 1 <= limit < _UNLIMITED:
        limits.append(int(limit))
    return min(limits) if limits else truncation(read_json(tokenizer))


def truncation(tokenizer: dict[str, Any]) -> int:
    """The length at which a tokenizer.json cuts by itself, or a default."""
    settings = tokenizer.get("truncation")
    length = settings.get("max_length") if isinstance(settings, dict) else None
    return length if type(length) is int and length >= 1 else _DEFAULT_MAX_TOKENS
