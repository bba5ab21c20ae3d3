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
import stat
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from azpg_runtime.errors import ModelConflict, ModelInvalid, ModelNotFound
from azpg_runtime.files import not_written, read_plainly, sync_folder, write_atomically
from azpg_runtime.models.catalog import CATALOG, nearest
from azpg_runtime.models.description import ModelDescription
from azpg_runtime.models.import_process import ImportLimits, ImportRequest, Imports
from azpg_runtime.models.sources import unreadable
from azpg_runtime.models.stored import DESCRIPTION, StoredModel

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".new-"
_GRACE = 3600.0
_NAME_FILE = 512
"""Bytes at most of a file in which the digest of a name stands."""


def check_name(name: str) -> None:
    """Raises `ModelInvalid` for a name that a store does not take."""
    if not _NAME.fullmatch(name):
        raise ModelInvalid(
            f"{name!r} is not a model name",
            detail="A name is 1 to 63 of a-z, 0-9, '.', '_' and '-', a letter or digit first.",
        )


class ModelStore:
    """The models below `root`, which is made when the first is added.

    Safe for several processes at once: content and names appear whole or not at all. What is added is read
    and tried in a process of its own.

    Args:
        root: the folder.
        limits: what that process may take.
    """

    def __init__(self, root: Path, *, limits: ImportLimits | None = None) -> None:
        self.root = root
        self._imports = Imports(limits or ImportLimits())
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
            raise self._not_found(name)
        return self._open(digest, name)

    def _not_found(self, name: str) -> ModelNotFound:
        names = self.names()
        if name in CATALOG:
            hint = f"Fetch it with `azpg models pull {name}`."
        elif near := nearest(name, names):
            hint = f"Did you mean {near!r}?"
        else:
            hint = "See what can be fetched with `azpg models list`; `azpg models add` takes any other."
        return ModelNotFound(
            f"the store has no model {name!r}",
            detail=f"It has {', '.join(names)}." if names else "It is empty.",
            hint=hint,
        )

    def by_digest(self, digest: str) -> StoredModel:
        """The model with that content. Raises as `get`."""
        if not _DIGEST.fullmatch(digest) or not (self._content / digest).is_dir():
            raise ModelNotFound(
                f"the store has no model with digest {digest}",
                hint="Add or pull the model it belongs to again: the same files have the same digest.",
            )
        return self._open(digest)

    def _digest_of(self, name: str) -> str | None:
        if not _NAME.fullmatch(name):
            return None
        path = self._names / f"{name}.json"
        try:
            raw = json.loads(read_plainly(path, limit=_NAME_FILE))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from None
        except (ValueError, RecursionError):
            raw = None
        digest = raw.get("digest") if isinstance(raw, dict) else None
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ModelInvalid(f"{path} is damaged", hint=f"Remove it with `azpg models remove {name}`.")
        return digest

    def _open(self, digest: str, name: str | None = None) -> StoredModel:
        return StoredModel.open(self._content / digest, name=name)

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
        """Adds a model under a name.

        Args:
            name: see `check_name`.
            path: a folder or .onnx file, see `azpg_runtime.models.importing.open_source`.
            replace: whether a name that stands for other content is given to this model.
            licence: SPDX identifier, if known.
            source: where it came from, for people.
            expected: SHA-256 of source files that must have exactly that content.

        Raises `ModelConflict`, `ModelInvalid`, `ModelUnreadable`, and `NotWritten` for a store that cannot be
        written.
        """
        check_name(name)
        model = self._import(path, name=name, licence=licence, source=source, expected=expected or {})
        with self._writing():
            self._make(self._names)
            self._bind(name, model.digest, replace=replace)
        return StoredModel(name, model.folder, model.description)

    def import_folder(self, folder: Path) -> StoredModel:
        """Takes the model in a folder, without a name. Raises `ModelInvalid` or `ModelUnreadable`."""
        return self._import(folder)

    def import_onnx(self, path: Path, tokenizer: Path) -> StoredModel:
        """Takes an .onnx file and its tokenizer, without a name.

        sentence-transformers' files beside the tokenizer say how it is used, if they are there.

        Raises `ModelInvalid` or `ModelUnreadable`.
        """
        return self._import(path, tokenizer)

    def stop_imports(self) -> None:
        """Ends what other threads are importing: they fail."""
        self._imports.stop()

    def _import(
        self,
        path: Path,
        tokenizer: Path | None = None,
        *,
        name: str | None = None,
        licence: str | None = None,
        source: str | None = None,
        expected: Mapping[str, str] | None = None,
    ) -> StoredModel:
        """The content of a source, made if it is not there."""
        unfinished = self._content.absolute() / f"{_UNFINISHED}{uuid.uuid4().hex}"
        request = ImportRequest(
            path=str(path.absolute()),
            tokenizer=None if tokenizer is None else str(tokenizer.absolute()),
            content=str(unfinished.parent),
            target=str(unfinished),
            name=name,
            licence=licence,
            source=source,
            expected=dict(expected or {}),
        )
        try:
            description, made = self._imports.run(request)
            if not made:
                return self._again(description.digest)
            with self._writing():
                return self._finish(unfinished, description)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make(self, folder: Path) -> None:
        """Makes a folder of the store; nobody but its owner may write it, whatever the umask."""
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise not_written(f"to the model store {self.root}", error) from None

    def _again(self, digest: str) -> StoredModel:
        with suppress(PermissionError):  # in a store of somebody else's, that one prunes it as well
            os.utime(self._content / digest)  # young again: `prune` leaves it alone
        return self._open(digest)

    def _finish(self, unfinished: Path, description: ModelDescription) -> StoredModel:
        """Syncs a folder to the disk and gives it its final name."""
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
            return self._again(description.digest)  # it was there, or somebody else was quicker
        sync_folder(self._content)
        return self._open(description.digest)

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
                        hint="Choose another name, or replace it: `azpg models add --replace`.",
                    ) from None
        sync_folder(self._names)

    def remove(self, name: str) -> None:
        """Removes a name; its content stays until `prune`, for a registration may need it.

        Raises `ModelNotFound`.
        """
        try:
            known = self._digest_of(name) is not None
        except ModelInvalid:
            known = True  # a damaged one can go as well
        if not known:
            raise self._not_found(name)
        with self._writing():
            (self._names / f"{name}.json").unlink(missing_ok=True)
            sync_folder(self._names)

    def prune(self, keep: Collection[str], *, grace: float = _GRACE) -> dict[str, int]:
        """Deletes content that has no name and is not in `keep`, the digests that registrations need.

        Content younger than `grace` seconds stays, for somebody may be about to name or register it.
        Returns the digests that are gone, with the bytes of their files.
        """
        if not self._content.is_dir():
            return {}
        needed = set(keep)
        for name in self.names():
            digest = self._digest_of(name)
            if digest is not None:
                needed.add(digest)
        gone = {}
        for entry in self._content.iterdir():
            with suppress(FileNotFoundError):
                found = entry.lstat()
                if entry.name in needed or time.time() - found.st_mtime < grace:
                    continue
                if not stat.S_ISDIR(found.st_mode):
                    continue  # nothing of ours
                if _DIGEST.fullmatch(entry.name):
                    size = sum(file.stat().st_size for file in entry.iterdir())
                    doomed = entry.rename(self._content / f"{_UNFINISHED}{entry.name}")
                    shutil.rmtree(doomed)
                    gone[entry.name] = size
                elif entry.name.startswith(_UNFINISHED):
                    shutil.rmtree(entry)  # left by a process that was killed
        return gone


def _sync(path: Path) -> None:
    """Syncs a file to the disk; nobody but its owner may write it, whatever the umask."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o644)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
