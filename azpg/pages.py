"""The documentation: in a wheel below this package, in a checkout the folder docs/."""

from __future__ import annotations

import re
from pathlib import Path

from azpg.errors import NotAvailable, UsageError
from azpg.suggestions import did_you_mean

_PACKAGED = Path(__file__).with_name("docs")
_CHECKOUT = Path(__file__).parent.parent / "docs"
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")
_IMAGE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n?", re.MULTILINE)


def folder() -> Path:
    """Where the pages are. Raises `NotAvailable` for an incomplete installation."""
    for found in (_PACKAGED, _CHECKOUT):
        if found.is_dir():
            return found
    raise NotAvailable("this installation of azpg has no pages: install it again.")


def topics() -> dict[str, Path]:
    """The pages by topic: the file's name in lower case, without its ending."""
    return {
        path.stem.lower(): path for path in sorted(folder().glob("*.md"), key=lambda one: one.stem.lower())
    }


def title(page: Path) -> str:
    """What a page is about: its heading, or its first sentence where the heading is a command's name."""
    heading, _, text = page.read_text(encoding="utf-8").partition("\n")
    heading = heading.lstrip("# ").rstrip()
    if not re.fullmatch(r"azpg [a-z]+", heading):
        return heading
    sentence = _LINK.sub(lambda link: link["text"], " ".join(text.strip().split("\n\n")[0].split()))
    return sentence.partition(". ")[0].rstrip(".")


def for_terminals(text: str) -> str:
    """A page without what a terminal cannot show; a link to another page is the command that prints it."""
    known = topics()

    def said(link: re.Match[str]) -> str:
        name = Path(link["target"].partition("#")[0]).stem.lower()
        if "://" in link["target"]:
            return link[0]
        return f"{link['text']} (`azpg help {name}`)" if name in known else link["text"]

    return _LINK.sub(said, _IMAGE.sub("", text))


def schemas() -> dict[str, Path]:
    """The JSON Schemas by name."""
    return {path.stem: path for path in sorted((folder() / "schemas").glob("*.json"))}


def find(name: str, known: dict[str, Path], what: str, *, otherwise: str = "") -> Path:
    """One of `known`. Raises `UsageError`, which names those like it, or else says `otherwise`."""
    if name in known:
        return known[name]
    meant = did_you_mean(name, known) or otherwise or f"There are: {', '.join(known)}."
    raise UsageError(f"there is no {what} {name!r}. {meant}")
