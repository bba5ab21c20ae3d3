"""What can be wrong with a spec, a target, a plan, or the work itself.

::

    AzpgError
     +-- SpecInvalid         azpg.yaml; every mistake at once, each with file, line and key (exit code 2)
     +-- TargetUnreachable   a server that cannot be found, reached or logged in to
     +-- PlanRefused         what the spec asks cannot be planned on this server
     +-- ApplyFailed         a change that did not succeed; those before it stay
     +-- LedgerMismatch      schema `azpg` was made by another version, or is not ours
     +-- ExtensionMismatch   azure_local_ai is not in a database, or something else is in its place
     +-- RowsFailed          rows that have no embedding after all retries
"""

from __future__ import annotations

from collections.abc import Sequence

from azpg.errors import AzpgError, UsageError


class SpecInvalid(UsageError):
    """A spec with mistakes.

    Attributes:
        problems: each as ``file:line: key: what is wrong, what is allowed``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__(" ".join(problems) if len(problems) == 1 else _numbered(problems))

    def lines(self) -> list[str]:
        """Each mistake on a line of its own."""
        if len(self.problems) == 1:
            return super().lines()
        return [f"{len(self.problems)} mistakes:", *self.problems]


class TargetUnreachable(AzpgError):
    """A server that cannot be found, reached or logged in to."""


class PlanRefused(AzpgError):
    """What the spec asks cannot be planned on this server; the message names the way on.

    Attributes:
        reasons: each a sentence.
    """

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        if len(reasons) == 1:
            super().__init__(reasons[0])
            return
        numbered = " ".join(f"({number}) {text}" for number, text in enumerate(reasons, 1))
        super().__init__(f"{len(reasons)} reasons why this cannot be planned: {numbered}")

    def lines(self) -> list[str]:
        """Each reason on a line of its own."""
        if len(self.reasons) == 1:
            return super().lines()
        return [f"{len(self.reasons)} reasons why this cannot be planned:", *self.reasons]


class ApplyFailed(AzpgError):
    """A change that did not succeed; those before it stay, and the next apply goes on from there."""


class LedgerMismatch(AzpgError):
    """Schema `azpg` was made by another version of azpg, or not by azpg at all."""


class ExtensionMismatch(AzpgError):
    """azure_local_ai is not in a database, or something else goes by its name there."""


class RowsFailed(AzpgError):
    """Rows that have no embedding after all retries; `azpg vectorize --failed` lists them."""


def _numbered(problems: Sequence[str]) -> str:
    return f"{len(problems)} mistakes: " + " ".join(
        f"({number}) {text}" for number, text in enumerate(problems, 1)
    )
