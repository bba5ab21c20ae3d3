"""The base of every error that azpg reports to a person.

::

    AzpgError
     +-- UsageError          what was asked for cannot be asked for (exit code 2)
     +-- NotAvailable        a part of azpg that is not installed, or not on this platform
"""


class AzpgError(Exception):
    """Something azpg could not do; the message says what was wrong, what is allowed and what to do next."""

    exit_code = 1

    def lines(self) -> list[str]:
        """The message as it is printed: one line, or one more for each of several reasons."""
        return [str(self)]


class UsageError(AzpgError):
    """A request that no state of the system could fulfil."""

    exit_code = 2


class NotAvailable(AzpgError):
    """A part of azpg that this installation or this platform does not have."""
