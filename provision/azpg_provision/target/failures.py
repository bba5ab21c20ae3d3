"""Why a connection to PostgreSQL was not made, in words: what was wrong, what to do next."""

from __future__ import annotations

import psycopg

FULL = "Too many connections are open: close some, or raise max_connections."
_FULL_SIGNS = ("remaining connection slots", "too many clients")
_EXPIRED = "access token has expired"
_FIREWALL = (
    "allow this machine's address (azpg:firewallRules, or `az postgres flexible-server firewall-rule "
    "create`), or connect from inside its network"
)


def is_expired_token(error: psycopg.Error) -> bool:
    """Whether the server refused a token because its time is over."""
    return _EXPIRED in str(error)


def is_full(said: str) -> bool:
    """Whether the server said that it takes no further connection."""
    return any(sign in said for sign in _FULL_SIGNS)


def in_words(error: psycopg.Error, *, user: str, token: bool) -> str:
    """One or two sentences. What libpq says holds no password.

    Args:
        error: what `psycopg.connect` raised.
        user: who tried to log in.
        token: whether by an access token.
    """
    said = " ".join(str(error).split())
    for sign, advice in _ADVICE.items():
        if sign in said:
            return f"{_core(said)} {advice}"
    if "password authentication failed" in said:
        return f"{_core(said)} " + (
            f"{user!r} has to be a Microsoft Entra administrator of the server (azpg:entraAdmins), or "
            "another role that logs in with tokens."
            if token
            else f"Check the password of {user!r}."
        )
    return _core(said)


_UNKNOWN_NAME = "The name is not found: check DNS; a private server's is known in its network only."
_ADVICE = {
    "certificate verify failed": "Its authority is not trusted here: name the right file in PGSSLROOTCERT.",
    "does not match host name": "The certificate is for another host: use the server's own name.",
    "no password supplied": (
        "Put the password into PGPASSWORD or ~/.pgpass, or enable Microsoft Entra logins (azpg:entraAuth)."
    ),
    "valid audience claim": (
        "The token is for another service: it needs the scope "
        "https://ossrdbms-aad.database.windows.net/.default."
    ),
    "valid oid claim": "The token is somebody else's: check --user, and `az account show`.",
    _EXPIRED: "Log in again; check this machine's clock.",
    "no pg_hba.conf entry": f"The server does not let this machine in: {_FIREWALL}.",
    "timeout expired": f"Nothing answers: {_FIREWALL}.",
    "timed out": f"Nothing answers: {_FIREWALL}.",
    "Connection refused": "Nothing listens there: is the server started? For the twin, `azpg status`.",
    "could not translate host name": _UNKNOWN_NAME,
    "failed to resolve host": _UNKNOWN_NAME,
    "does not exist": "Check the name.",
    **dict.fromkeys(_FULL_SIGNS, FULL),
}
"""What to do, by what stands in the message; the first that does counts."""


def _core(said: str) -> str:
    """What the server, or libpq, said last, as a sentence."""
    for mark in ("FATAL: ", "ERROR: ", "failed: "):
        if mark in said:
            said = said.rsplit(mark, 1)[1].strip()
            break
    return said if said.endswith((".", "!", "?")) else f"{said}."
