"""Trying again what Azure refuses for the moment only."""

from __future__ import annotations

import asyncio
from typing import Any

import pulumi
import pytest

from azpg.azure.busy import TEMPORARY
from azpg_infra import patience
from azpg_infra.patience import TRIES, pause, worth_another_try

from .cloud import Cloud, up

BUSY = 'Code="ServerIsBusy" Message="Cannot complete operation while server \'s\' is busy"'


def failed(*errors: str) -> pulumi.ErrorHookArgs:
    return pulumi.ErrorHookArgs(
        urn="u", id="i", name="n", type="t", failed_operation="create", errors=list(errors)
    )


@pytest.mark.parametrize("code", TEMPORARY)
def test_temporary_errors(code: str) -> None:
    assert worth_another_try([f"{code}: try again later"])


@pytest.mark.parametrize("error", ["InvalidParameterValue: no", "ServerNotFound", ""])
def test_other_errors(error: str) -> None:
    assert not worth_another_try([error])
    assert not worth_another_try([error, BUSY]), "the newest one counts"


def test_patience_ends() -> None:
    assert worth_another_try([BUSY] * (TRIES - 1))
    assert not worth_another_try([BUSY] * TRIES)


def test_pauses_grow_to_a_minute() -> None:
    assert [pause(tries) for tries in range(1, TRIES)] == [1, 2, 4, 8, 16, 32, 60]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr(patience, "pause", lambda tries: 0.0)
    return up({"networkMode": "vnet", "lock": True})


def test_everything_of_azure_is_made_with_patience(found: Cloud) -> None:
    patient = {
        each.token for each in found.resources if list(each.options.hooks.on_error) == ["azpg-patience"]
    }
    assert patient == {each.token for each in found.resources if each.token.startswith("azure-native:")}


def test_it_says_when_to_try_again(found: Cloud) -> None:
    (hook,) = found.hooks

    def answer(*errors: str) -> Any:
        waiting: Any = hook(failed(*errors))
        return asyncio.run(waiting)

    assert answer(BUSY) is True
    assert answer("QuotaExceeded") is False
