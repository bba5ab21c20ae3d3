"""`azpg embed`: texts to vectors without any server."""

from __future__ import annotations

import io
import itertools
import os
import stat
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from azpg.output import counting, print_json, say
from azpg_runtime.commands.models import open_store

_DEFAULT_MODEL = "all-minilm-l6-v2"
_AT_ONCE = 256


def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXTS", help="The texts; lines of standard input if left out."),
    ] = None,
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the store.")] = _DEFAULT_MODEL,
) -> None:
    """Embed texts, one JSON line each: {"text": …, "embedding": […]}."""
    stored = open_store().get(model)
    typed = not texts and sys.stdin.isatty()
    if typed:
        say("Type a text and press Enter; Ctrl-D ends.")
    lines: Iterator[str] = iter(texts) if texts else _lines()
    at_once = 1 if typed else _AT_ONCE
    batch = list(itertools.islice(lines, at_once))
    if not batch:
        say("There was no text: nothing is embedded.")
        return
    from azpg_runtime.embedding import Embedder  # noqa: PLC0415

    embedder = Embedder(stored)
    # A bar would stand in the way of results, also of those that the reader of a pipe prints.
    shown = len(batch) == _AT_ONCE and stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    with counting("embed", len(texts) if texts else None, shown=shown) as tell:
        before = 0

        def progress(done: int) -> None:
            tell(before + done)

        while batch:
            vectors = embedder.embed(batch, progress=progress)
            for text, vector in zip(batch, vectors, strict=True):
                # float32 to the shortest decimal that reads back as the same number
                numbers = [float(str(number)) for number in vector]
                print_json({"text": text, "embedding": numbers}, lines=True)
            sys.stdout.flush()
            before += len(batch)
            batch = list(itertools.islice(lines, at_once))


def _lines() -> Iterator[str]:
    """The lines of standard input; bytes that are no UTF-8 become replacement characters."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    for line in sys.stdin:
        yield line.rstrip("\r\n")
