"""Reads the stack's configuration and builds the stack; the only file that touches pulumi.Config."""

from __future__ import annotations

import pulumi

from azpg_infra import stack
from azpg_infra.caller import caller
from azpg_infra.errors import InfraError
from azpg_infra.reading import KEYS, read

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
    try:
        settings = read(values, secret=secret)
        outputs = stack.build(settings, stack=pulumi.get_stack(), caller=caller())
    except InfraError as error:
        raise pulumi.RunError(str(error)) from None
    for name, value in outputs.items():
        pulumi.export(name, value)


main()
