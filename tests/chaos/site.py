"""What a chaos run works on: a server in a home of its own, its models, and tables of each kind."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from azpg.process import find_program
from azpg_runtime.embedding import Embedder
from azpg_runtime.errors import ModelNotFound
from azpg_runtime.home import Home
from azpg_runtime.models import ModelStore
from azpg_runtime.postgres.instance import Instance
from tests.conftest import CACHE, MODEL, remove_instances
from tests.unit import tiny

DATABASE = "chaos"
TEXTS = 150
DISK = 2 << 30
"""Bytes of the disk that is filled: PostgreSQL keeps up to 1 GB of its log."""

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Model:
    """A model of the run: `vectors` has that of each text, computed by the library in this process."""

    name: str
    vectors: dict[str, Vector]

    @property
    def uri(self) -> str:
        return f"{self.name}:v1"


@dataclass(frozen=True, eq=False)
class Table:
    """A table; `prefix` is what the first spec, the last to be applied, puts before a text."""

    name: str
    model: Model
    prefix: str = ""

    def vector(self, body: str | None) -> Vector | None:
        """What a row with that text must have."""
        return None if body is None else self.model.vectors[self.prefix + body]


PREFIXES = ("", "note: ")


@dataclass
class Site:
    """A running server.

    Attributes:
        texts: what rows may hold; None is SQL's NULL.
        tables: those of the spec.
        no_disk: why no disk can be filled; empty if one can.
    """

    home: Home
    instance: Instance
    texts: list[str | None]
    models: list[Model]
    tables: list[Table]
    no_disk: str

    @property
    def environment(self) -> dict[str, str]:
        """For commands."""
        return {**os.environ, "AZPG_HOME": str(self.home.root)}

    def spec(self, number: int) -> Path:
        """The first spec, or the second one, which swaps triggers and queues, index and prefix."""
        return self.home.root / f"chaos-{number}.yaml"


@contextmanager
def made(seed: int, *, quick: bool = False) -> Iterator[Site]:
    """A site, which is gone afterwards with all that ran in it; on a disk of its own if there can be one.

    `quick`: with the tiny model alone, and no such disk.
    """
    root = Path(tempfile.mkdtemp(prefix="azpg-chaos-"))
    no_disk = "it was not wanted" if quick else _mount(root)
    try:
        if os.geteuid() == 0:
            root.chmod(0o711)
        home = Home(root / "home")
        home.create()
        texts = _texts(seed)
        models = _models(ModelStore(home.models), texts, quick=quick)
        instance = Instance("chaos", home=home)
        tables = [table for model in models for table in _tables(model)]
        site = Site(home, instance, texts, models, tables, no_disk)
        for number in (1, 2):
            site.spec(number).write_text(_spec(models, number))
        (home.root / "chaos.sql").write_text(_init(tables))
        try:
            instance.up()
            yield site
        finally:
            remove_instances(home)
    finally:
        if not no_disk:
            subprocess.run([find_program("umount") or "umount", str(root)], check=True)
        shutil.rmtree(root)


def _mount(root: Path) -> str:
    """Makes the folder a disk of its own; why not, or nothing."""
    if os.geteuid() != 0:
        return "only root mounts a disk"
    command = [find_program("mount") or "mount", "-t", "tmpfs", "-o", f"size={DISK},mode=711"]
    done = subprocess.run([*command, "azpg-chaos", str(root)], check=False, capture_output=True, text=True)
    return f"this kernel lets nobody mount: {done.stderr.strip()}" if done.returncode else ""


def _texts(seed: int) -> list[str | None]:
    """From nothing to 400 words, in several scripts; the same for the same seed."""
    chance = random.Random(seed)
    words = "the passage of a query bicycle red green привет мир 日本語 ひらがな 한국어 ü é naïve 😀 12 abab".split()
    texts: list[str | None] = [None, "", " ", "'", '"\\', "a" * 300, " ".join(chance.choices(words, k=400))]
    while len(texts) < TEXTS:
        texts.append(" ".join(chance.choices(words, k=chance.randint(1, 12))) + f" {len(texts)}")
    return texts


def _models(store: ModelStore, texts: list[str | None], *, quick: bool) -> list[Model]:
    source = tiny.write(store.root.parent / "tiny-source")
    stored = [store.add("tiny", source)]
    shutil.rmtree(source)
    with suppress(ModelNotFound):
        minilm = ModelStore(CACHE / "models").get("" if quick else MODEL)
        shutil.copytree(minilm.folder, store.root / "content" / minilm.digest)
        shutil.copy(CACHE / "models" / "names" / f"{MODEL}.json", store.root / "names")
        stored.append(store.get(MODEL))
    wanted = [prefix + text for prefix in PREFIXES for text in texts if text is not None]
    models = []
    for model in stored:
        assert model.name is not None
        vectors = Embedder(model).embed(wanted)
        models.append(Model(model.name, dict(zip(wanted, vectors, strict=True))))
    return models


def _short(model: Model) -> str:
    return model.name.partition("-")[0]


def _tables(model: Model) -> list[Table]:
    return [Table(f"{_short(model)}_{kind}", model) for kind in ("generated", "one", "two")]


def _spec(models: list[Model], number: int) -> str:
    lines = ["version: 1", "target: {local: chaos}", "models:"]
    lines += [f"- {{uri: {model.uri}, path: {model.name}}}" for model in models]
    lines += ["databases:", f"- name: {DATABASE}", "  init: [chaos.sql]"]
    lines += ["  extensions: [vector, azure_local_ai]", "  tables:"]
    kinds = ("trigger", "queue") if number == 1 else ("queue", "trigger")
    for model in models:
        for kind, sync in zip(("generated", "one", "two"), ("generated", *kinds), strict=True):
            lines += [f"  - name: {_short(model)}_{kind}", "    embeddings:", "    - column: embedding"]
            lines += ['      expression: "body"', f"      model: {model.uri}", f"      sync: {sync}"]
            if sync == "trigger":
                lines.append("      index: {method: hnsw}")
            if kind == "one" and PREFIXES[number - 1]:
                lines.append(f'      prefix: "{PREFIXES[number - 1]}"')
    return "\n".join(lines) + "\n"


def _init(tables: list[Table]) -> str:
    columns = "(id bigint PRIMARY KEY, body text, version integer NOT NULL DEFAULT 0)"
    return "".join(f"CREATE TABLE {table.name} {columns};\n" for table in tables)
