"""The two keys of an account, which no GET answers."""

from __future__ import annotations

import secrets

from azpg_runtime.arm.cognitive.names import ACCOUNTS
from azpg_runtime.arm.exchange import Answer, Call
from azpg_runtime.arm.router import Router
from azpg_runtime.arm.services import Services
from azpg_runtime.arm.state import Resource
from azpg_runtime.errors import ArmRefusal

_NAMES = ("key1", "key2")


def fill(account: Resource) -> None:
    """Makes the keys of an account that has none."""
    for name in _NAMES:
        account.private.setdefault(name, secrets.token_hex(16))


def add_keys(router: Router, services: Services) -> None:
    """Adds the actions on keys."""
    state = services.state

    def list_keys(call: Call) -> Answer:
        return _shown(_account(services, call))

    def regenerate_key(call: Call) -> Answer:
        body = call.body if isinstance(call.body, dict) else {}
        name = str(body.get("keyName", "")).lower()
        with state.changing():
            account = _account(services, call)
            if name not in _NAMES:
                raise ArmRefusal(400, "BadRequest", f"The keyName '{name}' is neither Key1 nor Key2.")
            account.private[name] = secrets.token_hex(16)
            answer = _shown(account)
            state.put(account)
        return answer

    router.on("POST", f"{ACCOUNTS}/listKeys", list_keys)
    router.on("POST", f"{ACCOUNTS}/regenerateKey", regenerate_key)


def _account(services: Services, call: Call) -> Resource:
    assert call.address.parent is not None
    return services.existing(call.address.parent)


def _shown(account: Resource) -> Answer:
    if account.properties["disableLocalAuth"]:
        raise ArmRefusal(400, "BadRequest", "Failed to list key. disableLocalAuth is set to be true")
    return Answer(body={name: account.private[name] for name in _NAMES})
