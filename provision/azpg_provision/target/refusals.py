"""What Azure answers when it does not do as asked, in words: what was wrong, what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from azpg_provision.errors import TargetUnreachable

_LONGEST = 400
_BEARER = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")


def code(error: AzureError) -> str:
    """Azure's word for it, such as ServerIsBusy, or ''."""
    found = getattr(getattr(error, "error", None), "code", None)
    return str(found) if found else ""


def in_words(error: AzureError) -> str:
    """One or two sentences for a person, without secrets."""
    if isinstance(error, ClientAuthenticationError) and error.response is None:
        if "ARM twin" in str(error):
            return _short(str(error))
        return (
            "no identity to ask Azure with was found. Log in with `az login`, or set AZURE_TENANT_ID, "
            'AZURE_CLIENT_ID and AZURE_CLIENT_SECRET; for the twin, eval "$(azpg arm env)".'
        )
    if isinstance(error, ServiceRequestError | ServiceResponseError):
        return _of_transport(error)
    if isinstance(error, HttpResponseError):
        return _of_answer(error)
    return _short(str(error))


def _of_transport(error: AzureError) -> str:
    said = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return (
            "Azure Resource Manager's certificate is not trusted here. Name the right file "
            'in REQUESTS_CA_BUNDLE; for the twin, eval "$(azpg arm env)".'
        )
    if "getaddrinfo" in said or "Name or service not known" in said or "NameResolution" in said:
        return "Azure Resource Manager's name is not found. Check the network, HTTPS_PROXY and DNS."
    return (
        "Azure Resource Manager does not answer. Check the network and HTTPS_PROXY; for the twin, "
        f"`azpg arm status`. It was: {_short(said)}"
    )


def _of_answer(error: HttpResponseError) -> str:
    said = _sentence(_short(getattr(error.error, "message", None) or str(error)))
    match error.status_code:
        case 401:
            return f"Azure does not take the identity that asks: {said} Log in again with `az login`."
        case 403:
            return (
                f"the identity that asks may not do this: {said} It needs the role Contributor on the server."
            )
        case 404:
            return f"{said} Check the id, and the subscription that you are logged in to."
        case 429:
            return f"Azure goes on asking for patience: {said} Try again in some minutes."
    word = code(error)
    return f"Azure refused: {f'({word}) ' if word else ''}{said}"


def _short(text: str) -> str:
    """One line, not endless, and no token in it."""
    line = _BEARER.sub("…", " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " …"


def _sentence(text: str) -> str:
    """With a full stop, and without the link that Resource Manager adds."""
    text = text.partition(" For more details go to ")[0]
    return text if text.endswith((".", "!", "?")) else f"{text}."


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raises `TargetUnreachable` for what Azure refuses; `what` was being done, such as "server x"."""
    try:
        yield
    except AzureError as error:
        raise TargetUnreachable(f"{what}: {in_words(error)}") from None
