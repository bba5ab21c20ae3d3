"""All checks, one after the other; none of them is in the way of another."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from azpg.errors import AzpgError
from azpg_provision.preflight import contents, offers, reach, server
from azpg_provision.preflight.check import Check, Look, Looks, Status, unknown
from azpg_provision.preflight.needs import Needs
from azpg_provision.preflight.site import NotKnown, Site
from azpg_provision.target.target import Target


def run(target: Target, needs: Needs) -> Iterator[Check]:
    """Each check as it is made."""
    site = Site(target)
    try:
        for look in _all(site, needs):
            yield _made(look)
    finally:
        site.close()


def has_failed(checks: list[Check]) -> bool:
    """Whether something has to be changed first."""
    return any(one.status is Status.FAIL for one in checks)


def _all(site: Site, needs: Needs) -> Looks:
    yield from server.looks(site, needs)
    yield from reach.looks(site, needs)
    yield from offers.looks(site, needs)
    yield from contents.looks(site, needs)
    if site.azure is not None:
        from azpg_provision.preflight import ai  # noqa: PLC0415 - it needs what the extra [azure] brings

        yield from ai.looks(site, needs)


def _made(look: Look) -> Check:
    """The check, which is `unknown` if it cannot be made, whatever is the reason."""
    id_, make = look
    try:
        return make()
    except NotKnown as missing:
        return unknown(id_, str(missing), missing.action)
    except AzpgError as error:
        return unknown(id_, _sentence(str(error)))
    except psycopg.Error as error:
        return unknown(id_, _sentence(f"The server refused: {error}"))
    except Exception as error:
        return unknown(id_, _sentence(_of_azure(error) or f"It could not be looked at: {error!r}"))


def _of_azure(error: Exception) -> str | None:
    """What Azure said, in words; None for what is not Azure's."""
    try:
        from azure.core.exceptions import AzureError  # noqa: PLC0415

        from azpg_provision.target.refusals import in_words  # noqa: PLC0415
    except ImportError:  # without the extra [azure] it cannot be
        return None
    return in_words(error) if isinstance(error, AzureError) else None


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."
