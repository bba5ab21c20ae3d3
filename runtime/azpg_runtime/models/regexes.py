"""Which regular expressions are known to take time in proportion to a text.

What the tokenizers library has built in does. A tokenizer.json can bring expressions of its own, though, and
these can take hours for a few kilobytes: the library gives up only where a single match takes too many steps.
"""

from __future__ import annotations

import re

# One character, perhaps repeated: what is tried at one place, and fails there, is at most nine characters.
_QUICK = re.compile(
    r"(?:\\[pP]\{\w+\}|\\[^\w]|\\[dswntrDSW]|\[(?:[^\[\]\\]|\\.)+\]|[^\\^$*+?{}\[\]|()])(?:\+|\{[1-9](?:,\d*)?\})?"
)


def is_quick(expression: str) -> bool:
    """Whether it surely is found, or not, at once wherever it is looked for."""
    return _QUICK.fullmatch(expression) is not None
