"""Every error of the Pulumi program.

::

    azpg.errors.AzpgError
     +-- InfraError
          +-- ConfigInvalid   what the stack's configuration asks for cannot be had
          +-- NotSignedIn     Azure does not know who is calling
"""

from __future__ import annotations

from collections.abc import Sequence

from azpg.errors import AzpgError


class InfraError(AzpgError):
    """Any error of the Pulumi program."""


class ConfigInvalid(InfraError):
    """The stack's configuration cannot be used.

    Attributes:
        problems: every mistake, each as `azpg:KEY: what is wrong`.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        heading = (
            "The configuration of this stack cannot be used; nothing was changed:"
            if count == 1
            else f"The configuration of this stack has {count} mistakes; nothing was changed:"
        )
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in self.problems)]))


class NotSignedIn(InfraError):
    """Azure does not know who is calling; `reason` is what the provider says of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "Azure does not know who is calling; nothing was changed. Run `az login` and `az account set`, "
            "or set ARM_CLIENT_ID, ARM_TENANT_ID and ARM_SUBSCRIPTION_ID; `azpg pulumi` needs neither. "
            f"({reason})"
        )
