"""The content-addressed folder of models that all instances share.

::

    root/
      content/DIGEST/   model.onnx, its weights, tokenizer.json, description.json: written once, never changed
      names/NAME.json   {"digest": DIGEST}
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from azpg_runtime.errors import ModelConflict, ModelInvalid, ModelNotFound, ModelUnreadable
from azpg_runtime.files import sync_folder, write_atomically
from azpg_runtime.models.bert import BertConfig, convert_bert
from azpg_runtime.models.description import TOKENIZER, FileDigest, ModelDescription
from azpg_runtime.models.graph import MODEL
from azpg_runtime.models.recipe import read_recipe
from azpg_runtime.models.sources import digest_file, unreadable
from azpg_runtime.models.vocabulary import highest_id, load_tokenizer, padding_id
from azpg_runtime.models.wrap import read_onnx, trial, wrap_onnx

DESCRIPTION = "description.json"
SAFETENSORS = "model.safetensors"
_CONFIG = "config.json"
_ONNX_PLACES = (MODEL, f"onnx/{MODEL}")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".new-"
_GRACE = 3600.0


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the store: `name` is None where it was asked for by content; `folder` holds its files."""

    name: str | None
    folder: Path
    description: ModelDescription

    @property
    def digest(self) -> str:
        """What the content is known by, everywhere."""
        return self.description.digest

    @property
    def onnx(self) -> Path:
        """The graph: input_ids and attention_mask, [n, L], to one float32 [n, D]."""
        return self.folder / MODEL

    @property
    def tokenizer(self) -> Path:
        """The tokenizer as its source had it."""
        return self.folder / TOKENIZER


def check_name(name: str) -> None:
    """Raises `ModelInvalid` for a name that a store does not take."""
    if not _NAME.fullmatch(name):
        raise ModelInvalid(
            f"{name!r} is not a model name",
            detail="A name has 1 to 63 characters of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit.",
        )


class ModelStore:
    """The models below `root`, which is made when the first is added.

    Safe for several processes at once: content and names appear whole or not at all.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content = root / "content"
        self._names = root / "names"

    def names(self) -> list[str]:
        """Every name, sorted."""
        if not self._names.is_dir():
            return []
        found = (entry.name.removesuffix(".json") for entry in self._names.glob("*.json"))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def list(self) -> list[StoredModel]:
        """Every named model, sorted by name. Raises as `get` for one whose files are damaged."""
        models = []
        for name in self.names():
            with suppress(ModelNotFound):  # removed since
                models.append(self.get(name))
        return models

    def get(self, name: str) -> StoredModel:
        """The model of that name.

        Raises `ModelNotFound`, and `ModelInvalid` or `ModelUnreadable` if its files are damaged.
        """
        digest = self._digest_of(name)
        if digest is None:
            names = self.names()
            raise ModelNotFound(
                f"the store has no model {name!r}",
                detail=f"It has {', '.join(names)}." if names else "It is empty.",
                hint=f"Fetch it with `azpg models pull {name}`, or see `azpg models list`.",
            )
        return self._open(digest, name)

    def by_digest(self, digest: str) -> StoredModel:
        """The model with that content. Raises as `get`."""
        if not _DIGEST.fullmatch(digest) or not (self._content / digest).is_dir():
            raise ModelNotFound(
                f"the store has no model with digest {digest}",
                hint="Add or pull the model it belongs to again: the same files have the same digest.",
            )
        return self._open(digest, None)

    def _digest_of(self, name: str) -> str | None:
        if not _NAME.fullmatch(name):
            return None
        path = self._names / f"{name}.json"
        try:
            raw = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from None
        except ValueError:
            raw = None
        digest = raw.get("digest") if isinstance(raw, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ModelInvalid(f"{path} is damaged", hint=f"Remove it with `azpg models remove {name}`.")
        return digest

    def _open(self, digest: str, name: str | None) -> StoredModel:
        folder = self._content / digest
        try:
            description = ModelDescription.from_json((folder / DESCRIPTION).read_bytes())
        except OSError as error:
            raise unreadable(folder / DESCRIPTION, error) from None
        if description.digest != digest:
            raise ModelInvalid(f"{folder} holds another model than its name says")
        return StoredModel(name, folder, description)

    def add(
        self,
        name: str,
        path: Path,
        *,
        replace: bool = False,
        licence: str | None = None,
        source: str | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> StoredModel:
        """Adds the model in the folder `path` (or the .onnx file `path`) under a name.

        Args:
            name: see `check_name`.
            path: a folder as models on the hub have it: model.safetensors and config.json of a BERT model, or
                model.onnx (also in onnx/), with tokenizer.json and sentence-transformers' files; or an .onnx file.
            replace: whether a name that stands for other content is given to this model.
            licence: SPDX identifier, if known.
            source: where it came from, for people.
            expected: SHA-256 of source files that must have exactly that content.

        Raises `ModelConflict`, `ModelInvalid` or `ModelUnreadable`.
        """
        check_name(name)
        importer = self.import_folder if not path.is_file() else self.import_onnx
        model = importer(path, name=name, licence=licence, source=source, expected=expected)
        self._names.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._bind(name, model.digest, replace=replace)
        return StoredModel(name, model.folder, model.description)

    def import_folder(
        self,
        folder: Path,
        *,
        name: str | None = None,
        licence: str | None = None,
        source: str | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> StoredModel:
        """`add` without a name in the store; `name` is only what the description calls the model."""
        if not folder.is_dir():
            raise ModelUnreadable(f"could not read {folder}: there is no such folder")
        weights, config = folder / SAFETENSORS, folder / _CONFIG
        graph = next((folder / place for place in _ONNX_PLACES if (folder / place).is_file()), None)
        if not (weights.is_file() and config.is_file()):
            if graph is None:
                raise ModelInvalid(
                    f"{folder} holds no model",
                    detail=f"It needs {SAFETENSORS} and {_CONFIG}, or {MODEL}; and {TOKENIZER}.",
                )
            return self._import_onnx(graph, folder / TOKENIZER, folder, name, licence, source, expected)
        try:
            shape = BertConfig.read(config)
        except ModelInvalid:
            if graph is None:
                raise
            return self._import_onnx(graph, folder / TOKENIZER, folder, name, licence, source, expected)
        recipe = read_recipe(folder)
        tokenizer = folder / TOKENIZER
        highest = highest_id(load_tokenizer(tokenizer))
        files = {SAFETENSORS: digest_file(weights), TOKENIZER: digest_file(tokenizer)}
        _check(files, expected)
        description = ModelDescription(
            name=name or folder.name,
            architecture="bert",
            dimensions=shape.hidden,
            max_tokens=recipe.max_tokens,
            pooling=recipe.pooling,
            normalize=recipe.normalize,
            licence=licence,
            source=source or f"folder {folder.name}",
            files=files,
            parameters=shape.parameters,
        )

        def build(target: Path) -> ModelDescription:
            convert_bert(weights, shape, recipe, target, highest_token=highest)
            return description

        return self._keep(description.digest, tokenizer, build)

    def import_onnx(
        self,
        path: Path,
        tokenizer: Path | None = None,
        *,
        name: str | None = None,
        licence: str | None = None,
        source: str | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> StoredModel:
        """Takes an .onnx file and its tokenizer.json (by default beside it, or above its folder onnx/).

        The name in the store is left alone; `name` is only what the description calls the model.

        Raises `ModelInvalid` or `ModelUnreadable`.
        """
        folder = path.parent
        if tokenizer is None:
            if folder.name == "onnx" and not (folder / TOKENIZER).is_file():
                folder = folder.parent
            tokenizer = folder / TOKENIZER
        return self._import_onnx(path, tokenizer, tokenizer.parent, name, licence, source, expected)

    def _import_onnx(
        self,
        path: Path,
        tokenizer: Path,
        folder: Path,
        name: str | None,
        licence: str | None,
        source: str | None,
        expected: Mapping[str, str] | None,
    ) -> StoredModel:
        graph = read_onnx(path)
        loaded = load_tokenizer(tokenizer)
        recipe = read_recipe(folder, tokenizer=tokenizer)
        files = {**graph.digests(), TOKENIZER: digest_file(tokenizer)}
        _check(files, expected)
        unfinished = self._unfinished()
        try:
            wrapped = wrap_onnx(graph, recipe, unfinished)
            trial(
                unfinished / MODEL,
                highest_token=highest_id(loaded),
                max_tokens=recipe.max_tokens,
                padding=padding_id(loaded),
            )
            description = ModelDescription(
                name=name or path.stem,
                architecture="onnx",
                dimensions=wrapped.dimensions,
                max_tokens=recipe.max_tokens,
                pooling=wrapped.pooling,
                normalize=wrapped.normalize,
                licence=licence,
                source=source or f"file {path.name}",
                files=files,
            )
            return self._finish(unfinished, tokenizer, description)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def _keep(self, digest: str, tokenizer: Path, build: Callable[[Path], ModelDescription]) -> StoredModel:
        """The content of that digest; made by `build` if it is not there."""
        if (self._content / digest).is_dir():
            os.utime(self._content / digest)  # young again: `prune` leaves it alone
            return self._open(digest, None)
        unfinished = self._unfinished()
        try:
            return self._finish(unfinished, tokenizer, build(unfinished))
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def _unfinished(self) -> Path:
        self._content.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self._content))
        umask = os.umask(0)
        os.umask(umask)
        path.chmod(0o755 & ~umask)
        return path

    def _finish(self, unfinished: Path, tokenizer: Path, description: ModelDescription) -> StoredModel:
        """Syncs a folder to the disk and gives it its final name."""
        copied = digest_file(tokenizer, copy_to=unfinished / TOKENIZER)
        if copied != description.files[TOKENIZER]:
            raise ModelInvalid(f"{tokenizer.name} changed while it was being added")
        (unfinished / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")
        for entry in unfinished.iterdir():
            _sync(entry)
        sync_folder(unfinished)
        final = self._content / description.digest
        try:
            unfinished.rename(final)
        except OSError:
            if not final.is_dir():
                raise
            shutil.rmtree(unfinished, ignore_errors=True)  # somebody else was quicker with the same content
        sync_folder(self._content)
        return self._open(description.digest, None)

    def _bind(self, name: str, digest: str, *, replace: bool) -> None:
        path = self._names / f"{name}.json"
        text = json.dumps({"digest": digest}) + "\n"
        if replace:
            write_atomically(path, text)
            return
        with tempfile.TemporaryDirectory(prefix=".", dir=self._names) as folder:
            ours = Path(folder) / "name"
            write_atomically(ours, text)
            try:
                os.link(ours, path)  # fails if the name exists, whoever is at it at the same moment
            except FileExistsError:
                if self._digest_of(name) != digest:
                    raise ModelConflict(
                        f"the name {name!r} already stands for another model",
                        hint="Choose another name, or replace the model expressly.",
                    ) from None
        sync_folder(self._names)

    def remove(self, name: str) -> str:
        """Removes a name and returns the digest of its content, which stays until `prune`.

        Raises `ModelNotFound`.
        """
        with suppress(ModelInvalid):  # a damaged name can be removed as well
            self.get(name)
        path = self._names / f"{name}.json"
        try:
            digest = self._digest_of(name)
        except ModelInvalid:
            digest = None
        path.unlink(missing_ok=True)
        sync_folder(self._names)
        return digest or ""

    def prune(self, keep: Collection[str], *, grace: float = _GRACE) -> set[str]:
        """Deletes content that has no name and is not in `keep`, the digests that registrations need.

        Content younger than `grace` seconds stays, for somebody may be about to name or register it.
        Returns the digests that are gone.
        """
        if not self._content.is_dir():
            return set()
        needed = set(keep)
        for name in self.names():
            digest = self._digest_of(name)
            if digest is not None:
                needed.add(digest)
        gone = set()
        for entry in self._content.iterdir():
            with suppress(FileNotFoundError):
                if entry.name in needed or time.time() - entry.stat().st_mtime < grace:
                    continue
                if _DIGEST.fullmatch(entry.name):
                    doomed = entry.rename(self._content / f"{_UNFINISHED}{entry.name}")
                    shutil.rmtree(doomed)
                    gone.add(entry.name)
                elif entry.name.startswith(_UNFINISHED):
                    shutil.rmtree(entry)  # left by a process that was killed
        return gone


def _check(files: Mapping[str, FileDigest], expected: Mapping[str, str] | None) -> None:
    for name, sha256 in (expected or {}).items():
        if name in files and files[name].sha256 != sha256:
            raise ModelInvalid(
                f"{name} does not have the expected content",
                detail=f"Its SHA-256 is {files[name].sha256}, expected was {sha256}.",
            )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
