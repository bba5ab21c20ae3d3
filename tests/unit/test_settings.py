"""The model host's settings: what they take, how they are kept, and what a damaged file says."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.errors import InvalidSetting, NotWritten
from azpg_runtime.host.settings import HostSettings, usable_cpus

KEYS = ["intra_op_parallelism", "inter_op_parallelism", "spin_control"]
BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
THREADS = st.integers(1, 1024)
PAIRS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(KEYS[:2]), THREADS.map(str)),
        st.tuples(st.just("spin_control"), st.sampled_from([*BOOLEANS, "ON", " True "])),
    ),
    max_size=8,
)

unhurried = settings(deadline=None)


def test_the_defaults_leave_the_cores_to_postgresql() -> None:
    defaults = HostSettings()
    assert defaults.in_force() == {
        "intra_op_parallelism": str(len(os.sched_getaffinity(0))),
        "inter_op_parallelism": "1",
        "spin_control": "false",
    }
    assert defaults.intra_op_threads == usable_cpus() >= 1


@unhurried
@given(pairs=PAIRS)
def test_the_last_value_of_each_key_holds_and_survives_the_file(pairs: list[tuple[str, str]]) -> None:
    changed = HostSettings().changed(pairs)
    wanted = {key: value.strip().lower() for key, value in pairs}
    for key, value in wanted.items():
        expected = str(BOOLEANS[value]).lower() if key == "spin_control" else value
        assert changed.in_force()[key] == expected
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.json"
        changed.save(path)
        assert HostSettings.load(path) == changed


def test_only_what_differs_from_the_defaults_is_kept(tmp_path: Path) -> None:
    """So that the defaults of a later version hold for whoever never chose."""
    path = tmp_path / "settings.json"
    HostSettings().save(path)
    assert json.loads(path.read_text()) == {}
    HostSettings().changed([("inter_op_parallelism", "1"), ("spin_control", "on")]).save(path)
    assert json.loads(path.read_text()) == {"spin_control": True}


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert HostSettings.load(tmp_path / "settings.json") == HostSettings()


def test_more_threads_than_cpus_are_allowed_as_azure_allows_them() -> None:
    assert HostSettings().changed([("intra_op_parallelism", " 1024 ")]).intra_op_threads == 1024


@pytest.mark.parametrize("key", KEYS[:2])
@pytest.mark.parametrize(
    "value", ["", "0", "-1", "+1", "1.0", "1e2", "1025", "9" * 5000, "two", "1 2", "٣", "²", "0x10"]
)
def test_what_is_no_number_of_threads(key: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        HostSettings().changed([(key, value)])
    assert caught.value.sqlstate == "22023"
    assert caught.value.message == f'"{value}" is not allowed for "{key}"'
    assert caught.value.hint == "Use a whole number from 1 to 1024."


@pytest.mark.parametrize("value", ["", "yes", "2", "truee", "tr"])
def test_what_is_no_boolean(value: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        HostSettings().changed([("spin_control", value)])
    assert caught.value.message == f'"{value}" is not allowed for "spin_control"'
    assert caught.value.hint == "Use true or false."


@pytest.mark.parametrize("key", ["", "spin", "SPIN_CONTROL", "in_force", "__class__"])
def test_unknown_settings(key: str) -> None:
    for attempt in (
        lambda: HostSettings().changed([(key, "1")]),
        lambda: HostSettings().select(["spin_control", key]),
    ):
        with pytest.raises(InvalidSetting) as caught:
            attempt()
        assert caught.value.message == f'unknown setting "{key}"'
        assert (
            caught.value.hint == "The settings are intra_op_parallelism, inter_op_parallelism, spin_control."
        )


def test_all_or_none_is_changed() -> None:
    before = HostSettings()
    with pytest.raises(InvalidSetting):
        before.changed([("spin_control", "on"), ("inter_op_parallelism", "none")])
    assert before == HostSettings()


def test_selecting() -> None:
    changed = HostSettings().changed([("spin_control", "on"), ("intra_op_parallelism", "3")])
    assert changed.select(["spin_control"]) == {"spin_control": "true"}
    assert changed.select([]) == changed.in_force()
    assert list(changed.select(["spin_control", "intra_op_parallelism"]).values()) == ["true", "3"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'"x"', b"null", b"\xff\xfe", b'{"spin_control": tru}']
)
def test_a_damaged_file_says_how_to_go_on(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content)
    with pytest.raises(InvalidSetting) as caught:
        HostSettings.load(path)
    assert caught.value.message.startswith("the settings file settings.json is damaged: ")
    assert caught.value.hint == "Delete it to return to the defaults."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"spin": true}', 'unknown setting "spin"'),
        ('{"inter_op_parallelism": null}', '"none" is not allowed for "inter_op_parallelism"'),
        ('{"inter_op_parallelism": 1.5}', '"1.5" is not allowed for "inter_op_parallelism"'),
        ('{"spin_control": []}', '"[]" is not allowed for "spin_control"'),
    ],
)
def test_a_file_with_values_that_are_not_allowed(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content)
    with pytest.raises(InvalidSetting) as caught:
        HostSettings.load(path)
    assert caught.value.message == f"the settings file settings.json is damaged: {message}."
    assert caught.value.hint == "Delete it to return to the defaults."


@unhurried
@given(
    content=st.text(max_size=60)
    | st.dictionaries(st.sampled_from(KEYS) | st.text(), st.integers() | st.text()).map(json.dumps)
)
def test_any_file_is_settings_or_an_error_of_ours(content: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.json"
        path.write_text(content, encoding="utf-8", errors="surrogatepass")
        with contextlib.suppress(InvalidSetting):
            HostSettings.load(path)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.mkdir()
    with pytest.raises(NotWritten) as caught:
        HostSettings().save(path)
    assert caught.value.message == f"could not write the settings file {path}: Is a directory"
