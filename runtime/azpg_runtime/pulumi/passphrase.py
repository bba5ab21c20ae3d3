"""The passphrase that opens the secrets of every offline stack of a home."""

from __future__ import annotations

import secrets
from pathlib import Path

from azpg_runtime.errors import PulumiError
from azpg_runtime.files import write_atomically
from azpg_runtime.pulumi.stacks import states

_HASH = len("-12345678")


class Passphrase:
    """The file, 0600.

    Args:
        root: the folder of all that Pulumi keeps offline; see `workspace`.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / "passphrase"
        self._root = root

    def ensure(self) -> None:
        """Makes one if none is needed yet.

        Raises `PulumiError` if it is lost: another one would open nothing, which Pulumi says late and in no
        words of ours.
        """
        if self.path.exists() and self.path.stat().st_size:
            return
        if stacks := self._encrypted():
            raise PulumiError(
                f"{self.path} is lost, and nothing else opens the secrets of the stacks {', '.join(stacks)}",
                hint="Put the file back. If there is no copy, begin anew: `azpg arm down --delete` deletes "
                f"the servers; then delete {self._root}.",
            )
        write_atomically(self.path, secrets.token_urlsafe(32), mode=0o600)

    def _encrypted(self) -> list[str]:
        """What it has been used for, as PROJECT/STACK."""
        settings = self._root.glob("projects/*/Pulumi.*.yaml")
        return sorted(
            set(states(self._root))
            | {
                f"{path.parent.name[:-_HASH]}/{path.stem.removeprefix('Pulumi.')}"
                for path in settings
                if "\nencryptionsalt:" in f"\n{path.read_text()}"
            }
        )
