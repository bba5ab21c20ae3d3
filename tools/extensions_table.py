"""Writes the tables of docs/extensions.md: what Azure lists, and which bundled PostgreSQL has it.

``python tools/extensions_table.py`` replaces them; a test says when that is due.
"""

from __future__ import annotations

import re
from pathlib import Path

from azpg.profiles import COMMON, LOCAL_AI, NEEDS_PRELOAD, PRELOADABLE
from azpg_runtime.postgres.bundled import BUILDS, Build, bundled

PAGE = Path(__file__).parents[1] / "docs" / "extensions.md"
OURS = {"azure_local_ai": "the twin's own; on Azure it was retired on 2025-03-21"}
INSTEAD = {
    "azure_ai": "Microsoft's own, for Azure only",
    "azure_storage": "Microsoft's own, for Azure only",
    "pg_diskann": "Microsoft's own, for Azure only; `hnsw` of `vector` answers the same queries",
    "pgcrypto": "needs OpenSSL; `gen_random_uuid()`, `sha256()` and `md5()` are in PostgreSQL itself",
    "sslinfo": "needs OpenSSL; the server itself has no TLS",
    "uuid-ossp": "needs a UUID library; `gen_random_uuid()`, and on 18 `uuidv7()`, are in PostgreSQL itself",
}
"""What there is to say of extensions that no bundled PostgreSQL has."""
_MARKS = re.compile(r"(<!-- (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def available(build: Build) -> dict[str, str]:
    """The versions of the extensions that a build has, as pg_available_extensions tells them."""
    original = bundled(build)
    found = {}
    for folder in (original.root / original.share, original.extensions / "share"):
        for path in sorted((folder / "extension").glob("*.control")):
            version = re.search(r"^default_version\s*=\s*'([^']*)'", path.read_text(), re.MULTILINE)
            found[path.stem] = version[1] if version else ""
    return found


def libraries(build: Build) -> set[str]:
    """The libraries that a build can preload."""
    original = bundled(build)
    return {path.stem for path in (original.root / original.lib).glob("*.so")}


def tables() -> dict[str, str]:
    """The tables of the page, by name."""
    has = {build: available(build) for build in BUILDS}
    offered = sorted(COMMON | {LOCAL_AI})
    present = [name for name in offered if any(name in found for found in has.values())]
    absent = [name for name in offered if name not in present]
    refused = sorted({name for found in has.values() for name in found} - {*offered})
    heads = [f"{build.version} (`{build.name}`)" for build in BUILDS]
    return {
        "present": _table(
            ["extension", *heads, ""],
            [
                [f"`{name}`", *(has[build].get(name, "no") for build in BUILDS), _remark(name)]
                for name in present
            ],
        ),
        "absent": _table(["extension", ""], [[f"`{name}`", INSTEAD.get(name, "")] for name in absent]),
        "libraries": _table(
            ["library", *heads],
            [
                [f"`{name}`", *("yes" if name in libraries(build) else "no" for build in BUILDS)]
                for name in sorted(PRELOADABLE)
            ],
        ),
        "refused": ", ".join(f"`{name}`" for name in refused) + ".\n",
    }


def page(text: str) -> str:
    """The page with its tables made anew."""
    made = tables()
    return _MARKS.sub(lambda match: match[1] + made[match["name"]] + match[3], text)


def _remark(name: str) -> str:
    if name in NEEDS_PRELOAD:
        return "needs its library in `shared_preload_libraries`, where it is by default"
    return OURS.get(name, "")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("|  |", "| |")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
