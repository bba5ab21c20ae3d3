"""One request to the ARM twin as its kinds of resources see it, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from azpg_runtime.arm.address import Address
from azpg_runtime.arm.state import Json


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its body parsed.

    Attributes:
        base: the scheme and host that the caller used, to which links must lead back.
        query: the parameters, their names in lower case.
        headers: their names in lower case.
    """

    method: str
    address: Address
    base: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None

    def link(self, path: str, **parameters: str) -> str:
        """An absolute URL with this request's api-version."""
        query = {"api-version": self.query.get("api-version", "")} | parameters
        return f"{self.base}{quote(path)}?{urlencode(query, quote_via=quote)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; no body is none at all, not JSON's null."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def listed(bodies: list[Json]) -> Answer:
    """A collection; `paging` makes pages of it."""
    return Answer(body={"value": bodies})
