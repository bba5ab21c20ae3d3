"""The model host's settings: what they may be, and the file that keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypedDict

from azpg_runtime.errors import InvalidSetting
from azpg_runtime.files import not_written, read_plainly, write_atomically

_MAX_THREADS = 1024
_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


def usable_cpus() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0))


class Threads(TypedDict):
    """How a model runs."""

    intra_op_threads: int
    inter_op_threads: int
    spin: bool


@dataclass(frozen=True, slots=True)
class HostSettings:
    """ONNX Runtime's threading, under the names Azure documents.

    Attributes:
        intra_op_parallelism: threads inside one operator; 0 stands for all usable CPUs.
        inter_op_parallelism: threads across operators.
        spin_control: whether idle threads busy-wait. Off unless asked for: the cores belong to PostgreSQL.
    """

    intra_op_parallelism: int = 0
    inter_op_parallelism: int = 1
    spin_control: bool = False

    @property
    def intra_op_threads(self) -> int:
        """The number of threads really used inside one operator."""
        return self.intra_op_parallelism or usable_cpus()

    @property
    def threads(self) -> Threads:
        """These settings as `azpg_runtime.embedding.Embedder` takes them."""
        return Threads(
            intra_op_threads=self.intra_op_threads,
            inter_op_threads=self.inter_op_parallelism,
            spin=self.spin_control,
        )

    def in_force(self) -> dict[str, str]:
        """Each setting's effective value as text."""
        return {
            "intra_op_parallelism": str(self.intra_op_threads),
            "inter_op_parallelism": str(self.inter_op_parallelism),
            "spin_control": "true" if self.spin_control else "false",
        }

    def select(self, keys: Iterable[str]) -> dict[str, str]:
        """The named settings as text, all of them when none is named. Raises `InvalidSetting`."""
        values = self.in_force()
        wanted = list(keys) or list(values)
        for key in wanted:
            _known(key)
        return {key: values[key] for key in wanted}

    def changed(self, pairs: Iterable[tuple[str, str]]) -> HostSettings:
        """These settings with `pairs` applied, all or none. Raises `InvalidSetting`."""
        settings = self
        for key, value in pairs:
            _known(key)
            if key == "spin_control":
                settings = replace(settings, spin_control=_boolean(key, value))
            elif key == "intra_op_parallelism":
                settings = replace(settings, intra_op_parallelism=_threads(key, value))
            else:
                settings = replace(settings, inter_op_parallelism=_threads(key, value))
        return settings

    def save(self, path: Path) -> None:
        """Writes what differs from the defaults, so that a crash leaves either the old or the new file.

        Raises `NotWritten`.
        """
        defaults = HostSettings()
        kept = {key: value for key, value in asdict(self).items() if value != getattr(defaults, key)}
        try:
            write_atomically(path, json.dumps(kept))
        except OSError as error:
            raise not_written(f"the settings file {path}", error) from None

    @classmethod
    def load(cls, path: Path) -> HostSettings:
        """What `save` wrote, or the defaults where there is no file. Raises `InvalidSetting`."""
        try:
            kept = json.loads(read_plainly(path))
            return cls().changed((key, str(value).lower()) for key, value in kept.items())
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, AttributeError, RecursionError, InvalidSetting) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "message", error)
            raise InvalidSetting(
                f"the settings file {path.name} is damaged: {reason}.",
                hint="Delete it to return to the defaults.",
            ) from None


def _known(key: str) -> None:
    if key not in HostSettings.__dataclass_fields__:
        raise InvalidSetting(
            f'unknown setting "{key}"',
            hint="The settings are " + ", ".join(HostSettings.__dataclass_fields__) + ".",
        )


def _threads(key: str, value: str) -> int:
    text = value.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= _MAX_THREADS):
        raise InvalidSetting(
            f'"{value}" is not allowed for "{key}"', hint=f"Use a whole number from 1 to {_MAX_THREADS}."
        )
    return int(text)


def _boolean(key: str, value: str) -> bool:
    try:
        return _BOOLEANS[value.strip().lower()]
    except KeyError:
        raise InvalidSetting(f'"{value}" is not allowed for "{key}"', hint="Use true or false.") from None
