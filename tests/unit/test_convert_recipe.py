"""How a model is used, from sentence-transformers' files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.foreign_folder import ForeignFolder
from azpg_runtime.models.recipe import read_recipe

from . import tiny


def changed(name: str, value: object) -> dict[str, bytes]:
    """The tiny model's files with one of them replaced by JSON."""
    return {**tiny.files(), name: json.dumps(value).encode()}


ROBERTA = {"model_type": "xlm-roberta", "max_position_embeddings": 514}
CUTTING = {"truncation": {"max_length": 128}}


@pytest.mark.parametrize(
    ("drop", "changes", "expected"),
    [
        ([], {}, 32),
        (["sentence_bert_config.json"], {}, 40),
        (["sentence_bert_config.json"], {"tokenizer_config.json": {"model_max_length": 20}}, 20),
        (["sentence_bert_config.json"], {"tokenizer_config.json": {"model_max_length": 1e30}}, 40),
        (
            ["sentence_bert_config.json"],
            {"config.json": {"model_type": "xlm-roberta", "max_position_embeddings": 514}},
            512,
        ),
        (["sentence_bert_config.json", "config.json"], {}, 512),
        (
            ["sentence_bert_config.json", "config.json"],
            {"tokenizer.json": {"truncation": {"max_length": 128}}},
            128,
        ),
        ([], {"sentence_bert_config.json": {"max_seq_length": None}}, 40),
    ],
)
def test_max_tokens(tmp_path: Path, drop: list[str], changes: dict[str, object], expected: int) -> None:
    files = {name: raw for name, raw in tiny.files().items() if name not in drop}
    files |= {name: json.dumps(value).encode() for name, value in changes.items()}
    assert (
        read_recipe(ForeignFolder(tiny.write(tmp_path, files)).file("tokenizer.json")).max_tokens == expected
    )


def test_without_sentence_transformers_files(tmp_path: Path) -> None:
    files = {
        name: raw for name, raw in tiny.files().items() if "odules" not in name and "Pooling" not in name
    }
    recipe = read_recipe(ForeignFolder(tiny.write(tmp_path, files)).file("tokenizer.json"))
    assert (recipe.pooling, recipe.normalize) == ("mean", True)


def modules(*kinds: str, path: str = "1_Pooling") -> list[dict[str, str]]:
    return [
        {"type": f"sentence_transformers.models.{kind}", "path": path if kind == "Pooling" else ""}
        for kind in kinds
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("modules.json", modules("Transformer", "Pooling", "Dense"), "a module 'Dense'"),
        ("modules.json", modules("Transformer", "Normalize"), "no Pooling"),
        ("modules.json", modules("Pooling", path="../../etc"), "outside the model"),
        ("modules.json", {"a": 1}, "not a list of modules"),
        ("modules.json", [1], "not a list of modules"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "not supported",
        ),
        ("1_Pooling/config.json", [], "not a JSON object"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "'max_seq_length' is 0"),
        ("sentence_bert_config.json", {"max_seq_length": True}, "'max_seq_length' is True"),
    ],
)
def test_recipes_that_are_not_supported(tmp_path: Path, name: str, value: object, message: str) -> None:
    with pytest.raises(ModelInvalid, match=message):
        read_recipe(ForeignFolder(tiny.write(tmp_path, changed(name, value))).file("tokenizer.json"))
