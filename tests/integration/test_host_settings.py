"""Settings in a real host: what is shown is what its sessions have, now and after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import psutil

from azpg_runtime.host import protocol
from azpg_runtime.host.protocol import Embed, Kind, Register
from azpg_runtime.host.settings import usable_cpus
from azpg_runtime.models import StoredModel
from azpg_runtime.wait import wait_for
from tests.conftest import MODEL, URI
from tests.integration.hosts import PATIENCE, Host
from tests.unit import tiny


def change(host: Host, **settings: str) -> None:
    host.request(Kind.SET_SETTINGS, protocol.pack_pairs(list(settings.items())))


def shown(host: Host) -> dict[str, str]:
    found: dict[str, str] = json.loads(host.request(Kind.GET_SETTINGS, protocol.pack_strings([])))
    return found


def threads(host: Host) -> set[int]:
    """Their numbers; some have done their work, and are gone in a moment."""
    return {thread.id for thread in host.process.threads()}


def load(host: Host) -> np.ndarray:
    found = host.request(Kind.EMBED, Embed(URI, ["a", "some more words"]).pack())
    assert isinstance(found, np.ndarray)
    return found


def test_the_sessions_have_the_threads_that_are_shown_also_after_a_restart(
    start: Callable[..., Host],
) -> None:
    host = start()
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    tiny.write(host.home.models / "tiny")
    host.request(Kind.REGISTER, Register("tiny", "tiny/").pack())
    assert shown(host)["intra_op_parallelism"] == str(usable_cpus())
    change(host, intra_op_parallelism="1")
    before = load(host)
    alone = threads(host)
    change(host, intra_op_parallelism="5")
    # A session of five threads starts four: the fifth is the one that asks.
    assert wait_for(lambda: len(threads(host) - alone) == 2 * 4, timeout=PATIENCE), (alone, threads(host))
    assert np.abs(load(host) - before).max() < 1e-6
    change(host, intra_op_parallelism="2", inter_op_parallelism="3", spin_control="on")
    assert shown(host) == {
        "intra_op_parallelism": "2",
        "inter_op_parallelism": "3",
        "spin_control": "true",
    }
    assert np.abs(load(host) - before).max() < 1e-6
    # One more for runs, and two more for operators side by side.
    assert wait_for(lambda: len(threads(host) - alone) == 2 * 3, timeout=PATIENCE), (alone, threads(host))
    kept = len(threads(host))
    host.restart()
    assert shown(host) == {
        "intra_op_parallelism": "2",
        "inter_op_parallelism": "3",
        "spin_control": "true",
    }
    assert wait_for(lambda: all(one["loaded"] for one in host.status()["models"]), timeout=PATIENCE)
    assert np.abs(load(host) - before).max() < 1e-6
    # The restarted host has imported and prepared nothing yet.
    assert wait_for(lambda: abs(len(threads(host)) - kept) <= 2, timeout=PATIENCE), (kept, threads(host))


def test_what_cannot_be_kept_is_not_in_force(start: Callable[..., Host]) -> None:
    host = start()
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    change(host, intra_op_parallelism="1")
    load(host)
    alone, before = threads(host), shown(host)
    kept = host.home.host / "settings.json"
    text = kept.read_text()
    kept.unlink()
    kept.mkdir()
    body = protocol.pack_pairs([("intra_op_parallelism", "7")])
    error = host.refused(Kind.SET_SETTINGS, body)
    assert (error.sqlstate, error.message) == (
        "58030",
        f"could not write the settings file {kept}: Is a directory",
    )
    assert shown(host) == before
    # The sessions that were made for it are gone again.
    assert wait_for(lambda: threads(host) <= alone, timeout=PATIENCE), (alone, threads(host))
    load(host)
    kept.rmdir()
    kept.write_text(text)
    host.restart()
    assert shown(host) == before


def test_threads_that_the_system_does_not_allow_change_nothing(
    start: Callable[..., Host], minilm: StoredModel
) -> None:
    """The address space has no room for the stacks of so many."""
    host = start()
    host.request(Kind.REGISTER, Register(URI, MODEL).pack())
    load(host)
    before, alone = shown(host), threads(host)
    taken = host.process.memory_info().vms
    host.process.rlimit(psutil.RLIMIT_AS, (taken + 2 * minilm.memory + 512 * 1024 * 1024,) * 2)
    error = host.refused(Kind.SET_SETTINGS, protocol.pack_pairs([("intra_op_parallelism", "1000")]))
    assert error.sqlstate == "53000", error
    assert error.message.startswith("the system allows only ")
    assert error.message.endswith(" of 1001 threads")
    assert shown(host) == before
    assert load(host).shape == (2, 384)
    assert wait_for(lambda: len(threads(host) - alone) <= 1, timeout=PATIENCE)
