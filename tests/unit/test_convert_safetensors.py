"""A safetensors file is checked before anything in it is believed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azpg_runtime.errors import ModelInvalid
from azpg_runtime.models.safetensors import SafetensorsFile

from . import tiny


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny.safetensors({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}))
    with SafetensorsFile(path) as file:
        assert list(file) == ["a"]
        values = file.float32("a", (2, 3))
        assert values.tolist() == [[0, 1, 2], [3, 4, 5]]
        assert not values.flags.owndata
        assert not values.flags.writeable
        del values


def test_other_floats_become_float32(tmp_path: Path) -> None:
    half = np.array([1.5, -2], np.float16)
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny.safetensors({"a": half}))
    with SafetensorsFile(path) as file:
        assert file.float32("a", (2,)).tolist() == [1.5, -2]
    brain = (half.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    path.write_bytes(with_header({"a": entry(dtype="BF16", data_offsets=[0, 4])}, brain.tobytes()))
    with SafetensorsFile(path) as file:
        assert file.float32("a", (2,)).tolist() == [1.5, -2]


def with_header(header: object, data: bytes = bytes(8)) -> bytes:
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"1234567",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (3).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{x",
        with_header([]),
        with_header({"a": 3}),
        with_header({"a": {}}),
        with_header({"a": entry(dtype="F31")}),
        with_header({"a": entry(shape=[-2])}),
        with_header({"a": entry(shape=[2.0])}),
        with_header({"a": entry(shape=[3])}),
        with_header({"a": entry(data_offsets=[8, 0])}),
        with_header({"a": entry(data_offsets=[0, 16], shape=[4])}),
        with_header({"a": entry(data_offsets=[0])}),
        with_header({"a": entry(), "b": entry(data_offsets=[4, 8], shape=[1])}),
    ],
)
def test_what_is_no_safetensors_file(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ModelInvalid, match=r"model\.safetensors is not a safetensors file"):
        SafetensorsFile(path)


@given(raw=st.binary(max_size=40), length=st.integers(0, 60))
def test_no_bytes_get_past_the_checks(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + raw)
    try:
        SafetensorsFile(path).close()
    except ModelInvalid:
        pass
    else:
        assert isinstance(json.loads(raw[:length]), dict)


def test_tensors_that_are_not_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(tiny.safetensors({"a": np.zeros(2, np.float32), "i": np.zeros(2, np.int64)}))
    with SafetensorsFile(path) as file:
        for name, shape, message in (
            ("b", (2,), "no tensor 'b'"),
            ("a", (3,), "has shape"),
            ("i", (2,), "holds I64"),
        ):
            with pytest.raises(ModelInvalid, match=message):
                file.float32(name, shape)
