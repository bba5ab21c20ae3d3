"""What Azure wants of the server admin's password.

Source: the quickstart of Flexible Server (quickstart-create-server-portal): 8 to 128 characters of three of
the four kinds; and the portal's own words: it must not contain the login name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SHORTEST, LONGEST = 8, 128
_KINDS = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")
_KINDS_NEEDED = 3


def weaknesses(password: str, login: str | None) -> Iterator[str]:
    """Why Azure would not take a password, in words that follow "it"; the password is in none of them.

    Args:
        password: the password.
        login: the server admin's name, if there is one.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        yield f"has the wrong length: Azure wants {SHORTEST} to {LONGEST} characters"
    if sum(bool(re.search(kind, password)) for kind in _KINDS) < _KINDS_NEEDED:
        yield "is too simple: Azure wants three of lower case, upper case, digits and other characters"
    if login and login.lower() in password.lower():
        yield "holds the admin's name, which Azure refuses: choose another one"
