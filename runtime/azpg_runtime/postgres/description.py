"""What an instance is: the answers that `azpg up` was given, kept for every later `up`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from azpg_runtime.errors import InstanceError
from azpg_runtime.files import write_atomically

VERSION = 1


@dataclass(frozen=True, slots=True)
class Description:
    """The properties of one instance.

    Attributes:
        port: TCP port on 127.0.0.1, kept for the instance's life unless somebody else takes it.
        fixed_port: whether a person chose the port, so that it must not be changed silently.
        admin: the server admin's role.
        os_user: the operating system's user that PostgreSQL runs as.
    """

    name: str
    major: int
    port: int
    fixed_port: bool
    admin: str
    location: str
    sku: str
    profile: str
    os_user: str

    def save(self, path: Path) -> None:
        """Writes the description."""
        write_atomically(path, json.dumps({"version": VERSION, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Description:
        """What `save` wrote. Raises `InstanceError` for anything else, FileNotFoundError for nothing."""
        try:
            kept = json.loads(path.read_text())
            if kept.pop("version") != VERSION:
                raise ValueError("it was written by another version of azpg")
            return cls(**kept)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InstanceError(f"{path} is damaged: {error}.") from None
