"""Reads the stack's configuration and builds the stack; the only file that touches pulumi.Config."""

from __future__ import annotations

import pulumi

from azpg_infra import offers, patience
from azpg_infra.caller import caller
from azpg_infra.config import StackConfig
from azpg_infra.errors import InfraError
from azpg_infra.names import Names
from azpg_infra.reading import KEYS, read
from azpg_infra.stack import build

PROJECT = "azpg"


def main() -> None:
    """Ends with all that is wrong in words, instead of a traceback."""
    config = pulumi.Config(PROJECT)
    values = {key: text for key in KEYS if (text := config.get(key)) is not None}
    # What is misspelt, pulumi.Config cannot list.
    for name, text in pulumi.runtime.get_config_env().items():
        project, _, key = name.partition(":")
        if project == PROJECT:
            values.setdefault(key, text)
    secret = {key for key in values if pulumi.runtime.is_config_secret(f"{PROJECT}:{key}")}
    stack = pulumi.get_stack()

    def ask(config: StackConfig) -> frozenset[str] | None:
        return offers.read(Names.of(config, stack=stack, caller=caller()))

    try:
        settings = read(values, secret=secret, ask=ask)
        who = caller()
        patience.with_everything()
        outputs = build(settings, names=Names.of(settings, stack=stack, caller=who), caller=who)
    except InfraError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)


main()
