"""Rows without an up-to-date embedding get one."""

from azpg_provision.vectorize.backlog import Backlog, backlog
from azpg_provision.vectorize.queue import drain
from azpg_provision.vectorize.run import run
from azpg_provision.vectorize.work import Connect, Options, Outcome, Progress

__all__ = ["Backlog", "Connect", "Options", "Outcome", "Progress", "backlog", "drain", "run"]
