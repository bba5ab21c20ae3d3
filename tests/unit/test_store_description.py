"""A description is strict, and its digest is of what decides the vectors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models import FileDigest, ModelDescription


def description(**changes: object) -> ModelDescription:
    values: dict[str, object] = {
        "name": "tiny",
        "architecture": "bert",
        "dimensions": 4,
        "max_tokens": 8,
        "pooling": "mean",
        "normalize": True,
        "licence": "MIT",
        "source": "test",
        "files": {"model.safetensors": FileDigest(3, "a" * 64), "tokenizer.json": FileDigest(4, "b" * 64)},
        "parameters": {"heads": 2},
    }
    return ModelDescription(**{**values, **changes})  # type: ignore[arg-type]


def test_a_description_survives_json() -> None:
    for made in (description(), description(licence=None, pooling="none", normalize=False, parameters={})):
        assert ModelDescription.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"name": "other"}, True),
        ({"licence": None}, True),
        ({"source": "elsewhere"}, True),
        ({"dimensions": 5}, True),
        ({"max_tokens": 9}, False),
        ({"pooling": "cls"}, False),
        ({"normalize": False}, False),
        ({"parameters": {"heads": 4}}, False),
        ({"files": {"x.onnx": FileDigest(3, "a" * 64), "tokenizer.json": FileDigest(4, "b" * 64)}}, True),
        ({"files": {"x.onnx": FileDigest(3, "c" * 64), "tokenizer.json": FileDigest(4, "b" * 64)}}, False),
        ({"files": {"x.onnx": FileDigest(3, "a" * 64), "tokenizer.json": FileDigest(4, "c" * 64)}}, False),
    ],
)
def test_the_digest_is_of_what_decides_the_vectors(changes: dict[str, object], same: bool) -> None:
    assert (description(**changes).digest == description().digest) is same


def test_the_digest_does_not_change_with_the_code() -> None:
    """Registrations hold it for good: a change here would orphan every one of them."""
    assert description().digest == "37f47604c250197cd1f45773ad535b766a6ff3a9fc5ac86a5c154a9dcad0a7a4"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("digest", "0" * 64),
        ("architecture", "gpt"),
        ("pooling", "max"),
        ("normalize", 1),
        ("dimensions", True),
        ("dimensions", 0),
        ("dimensions", 1 << 30),
        ("max_tokens", "8"),
        ("licence", 3),
        ("files", {}),
        ("files", {"tokenizer.json": {"size": 1, "sha256": "b" * 64}}),
        ("files", {"a": {"size": -1, "sha256": "b" * 64}, "tokenizer.json": {"size": 1, "sha256": "b" * 64}}),
        ("files", {"a": {"size": 1, "sha256": "B" * 64}, "tokenizer.json": {"size": 1, "sha256": "b" * 64}}),
        ("files", {"a": 3}),
        ("parameters", {"heads": "2"}),
        ("name", None),
    ],
)
def test_descriptions_of_nothing(field: str, value: object) -> None:
    raw = json.loads(description().to_json())
    with pytest.raises(ModelInvalid):
        ModelDescription.from_json(json.dumps({**raw, field: value}))


@given(
    text=st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
)
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(ModelInvalid):
        ModelDescription.from_json(text)
