"""What `shared_preload_libraries` is to hold."""

from __future__ import annotations

from collections.abc import Iterable

from azpg.extensions import join
from azpg.profiles import DEFAULT_PRELOAD, NEEDS_PRELOAD


def merged(libraries: Iterable[str], *, extensions: Iterable[str]) -> str | None:
    """The default, what the extensions need, and what is asked for; None if that is the default.

    A value equal to the default is not written at all: the provider reports it as written and does not.
    """
    needed = (name for name in extensions if name in NEEDS_PRELOAD)
    names = dict.fromkeys([*DEFAULT_PRELOAD, *needed, *libraries])
    return None if len(names) == len(DEFAULT_PRELOAD) else join(names)
