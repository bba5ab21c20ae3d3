"""Lists in pages, whose `nextLink` leads to the next one.

A page goes on after the last resource of the one before, whatever was made or removed meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.state import Json
from azpg_runtime.errors import ArmRefusal

PAGE = 100
"""Resources on a page."""
_PLACE = "$skipToken"


def page(call: Call, answer: Answer) -> Answer:
    """The part of a list that a request asks for. Raises `ArmRefusal` for a token that none of ours is.

    Other answers, and lists of what has no id, such as models, stay as they are.
    """
    body = answer.body
    items = body.get("value") if call.method == "GET" and isinstance(body, dict) else None
    if not isinstance(items, list) or not all(isinstance(one, dict) and "id" in one for one in items):
        return answer
    token = call.query.get(_PLACE.lower())
    after = ("", "") if token is None else _read(token)
    rest = sorted((one for one in items if _place(one) > after), key=_place)
    shown: Json = {**body, "value": rest[:PAGE]}
    if len(rest) > PAGE:
        asked = {name: one for name, one in call.query.items() if name not in {"api-version", _PLACE.lower()}}
        shown["nextLink"] = call.link(str(call.address), **asked, **{_PLACE: _written(rest[PAGE - 1])})
    return replace(answer, body=shown)


def _place(item: Json) -> tuple[str, str]:
    return str(item["id"]).lower(), str(item["id"])


def _written(item: Json) -> str:
    return base64.urlsafe_b64encode(str(item["id"]).encode()).decode()


def _read(token: str) -> tuple[str, str]:
    try:
        return _place({"id": base64.b64decode(token, altchars=b"-_", validate=True).decode()})
    except (binascii.Error, ValueError):
        raise ArmRefusal(
            400,
            "InvalidSkipToken",
            f"The {_PLACE} '{token[:60]}' is none of this list's. Follow a nextLink as it was answered.",
        ) from None
