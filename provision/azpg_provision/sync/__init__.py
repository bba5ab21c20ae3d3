"""How a vectorized column keeps up with its rows.

`generated` is PostgreSQL's own work. `trigger` computes the vector in the writing statement; `queue` notes
the key there for `azpg worker`. Both are triggers that run with the rights of the table's owner, so that
writers need none in schema azpg, and neither fails a writer whose text gets no embedding.
"""

from azpg_provision.sync.bound import bound, needs_text
from azpg_provision.sync.generated import add_generated
from azpg_provision.sync.installation import (
    all_in_step,
    all_usable,
    install,
    installed,
    make_generated,
    remove,
    usable,
)
from azpg_provision.sync.session import schemas

__all__ = [
    "add_generated",
    "all_in_step",
    "all_usable",
    "bound",
    "install",
    "installed",
    "make_generated",
    "needs_text",
    "remove",
    "schemas",
    "usable",
]
