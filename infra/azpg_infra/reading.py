"""Makes a `StackConfig` of what a stack's configuration holds, or says everything that is wrong with it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import ValidationError

from azpg_infra.config import StackConfig
from azpg_infra.errors import ConfigInvalid
from azpg_infra.problems import in_words
from azpg_infra.rules import OFFER, RULES, not_offered

KEYS = {field.alias or name: name for name, field in StackConfig.__pydantic_fields__.items()}
"""Configuration keys, without `azpg:`, and the field that each fills."""
Ask = Callable[[StackConfig], frozenset[str] | None]
_LIKE_JSON = ("[", "{")


def _nobody(_: StackConfig) -> None:
    return None


def read(values: Mapping[str, str], *, secret: Collection[str] = (), ask: Ask = _nobody) -> StackConfig:
    """The configuration in `values`.

    Args:
        values: by key, without `azpg:`; each a text, structured ones as JSON, as Pulumi keeps them.
        secret: the keys whose values are encrypted in the stack's file.
        ask: what the stack's server says it offers, or None to leave it to the profile; called only if
            nothing else is wrong.

    Raises `ConfigInvalid` with every mistake.
    """
    problems: dict[str, list[str]] = {}
    known: dict[str, Any] = {}
    for key, text in values.items():
        if key not in KEYS:
            problems.setdefault(key, []).append(f"azpg:{key}: {_unknown(key)}")
            continue
        try:
            known[key] = json.loads(text) if text.startswith(_LIKE_JSON) and key != "adminPassword" else text
        except ValueError:
            problems.setdefault(key, []).append(
                f"azpg:{key}: {text!r} is no JSON: set its parts with `pulumi config set --path`"
            )
    if "adminPassword" in known and "adminPassword" not in secret:
        problems.setdefault("adminPassword", []).append(
            "azpg:adminPassword: stands in the stack's file in clear text: choose a new one and run "
            "`pulumi config set --secret azpg:adminPassword`"
        )
    config = _checked(known, problems)
    wrong = {KEYS[key] for key in problems if key in KEYS}
    if wrong.isdisjoint(OFFER):
        real = None if problems else ask(config)
        for text in not_offered(config, real):
            problems.setdefault("extensions", []).append(f"azpg:extensions: {text}")
    if problems:
        order = [*KEYS, *(key for key in problems if key not in KEYS)]
        raise ConfigInvalid([text for key in order for text in problems.get(key, [])])
    return config


def _checked(known: Mapping[str, Any], problems: dict[str, list[str]]) -> StackConfig:
    """The configuration, with defaults in place of what is wrong; what is wrong goes into `problems`."""
    try:
        config = StackConfig.model_validate(known)
    except ValidationError as error:
        for key, text in in_words(error, StackConfig):
            problems.setdefault(key, []).append(text)
        config = StackConfig.model_validate({key: known[key] for key in known if key not in problems})
    wrong = {KEYS[key] for key in problems if key in KEYS}
    aliases = {name: key for key, name in KEYS.items()}
    for rule in RULES:
        if wrong.isdisjoint(rule.keys):
            key = aliases[rule.keys[0]]
            for text in rule.check(config):
                problems.setdefault(key, []).append(f"azpg:{key}: {text}")
    return config


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, KEYS, n=1)
    return (
        f"is unknown: did you mean azpg:{near[0]}?" if near else f"is unknown: use {', '.join(sorted(KEYS))}"
    )
