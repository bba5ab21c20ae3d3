"""Rows without an up-to-date embedding get one."""

from azpg_provision.vectorize.backlog import Backlog, backlog, noted, waiting
from azpg_provision.vectorize.connections import Connections
from azpg_provision.vectorize.queue import drain
from azpg_provision.vectorize.run import run
from azpg_provision.vectorize.work import Connect, Options, Outcome, Progress, Tell, silent

__all__ = [
    "Backlog",
    "Connect",
    "Connections",
    "Options",
    "Outcome",
    "Progress",
    "Tell",
    "backlog",
    "drain",
    "noted",
    "run",
    "silent",
    "waiting",
]
