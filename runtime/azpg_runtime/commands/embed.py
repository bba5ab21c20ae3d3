"""`azpg embed`: texts to vectors without any server."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from azpg_runtime.commands.models import open_store

_DEFAULT_MODEL = "all-minilm-l6-v2"
_AT_ONCE = 256


def embed(
    texts: Annotated[
        list[str] | None, typer.Argument(help="The texts; lines of standard input if left out.")
    ] = None,
    *,
    model: Annotated[str, typer.Option("--model", "-m", help="A model of the store.")] = _DEFAULT_MODEL,
) -> None:
    """Embed texts, one JSON line each: {"text": …, "embedding": […]}."""
    from azpg_runtime.embedding import Embedder  # noqa: PLC0415

    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    embedder = Embedder(open_store().get(model))
    lines: Iterator[str] = iter(texts) if texts else (line.rstrip("\r\n") for line in sys.stdin)
    while batch := list(itertools.islice(lines, _AT_ONCE)):
        for text, vector in zip(batch, embedder.embed(batch), strict=True):
            # float32 to the shortest decimal that reads back as the same number
            numbers = [float(str(number)) for number in vector]
            sys.stdout.write(json.dumps({"text": text, "embedding": numbers}, ensure_ascii=False) + "\n")
        sys.stdout.flush()
