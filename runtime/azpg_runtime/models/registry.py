"""Which URIs of one instance stand for which content: a JSON file with one owner, the model host."""

from __future__ import annotations

import builtins
import json
import re
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from azpg_runtime.errors import ModelConflict, ModelInvalid, ModelNotFound
from azpg_runtime.files import not_written, read_plainly, write_atomically
from azpg_runtime.models.sources import unreadable

_VERSION = 1
_URI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}:[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Registration:
    """A URI and the content it is bound to for good.

    Attributes:
        id: from 1 up in order of first registration; it stays with the URI and is never given to another.
        uri: NAME:VERSION.
        digest: the content's digest in the model store.
        registered: False after `Registry.unregister`; the binding stays.
        registered_at: ISO 8601 in UTC, of the latest registration.
    """

    id: int
    uri: str
    digest: str
    registered: bool
    registered_at: str


def normalise_uri(uri: str) -> str:
    """`uri` with its version: NAME means NAME:v1. Raises `ModelInvalid` for what is no model URI."""
    full = uri if ":" in uri else f"{uri}:v1"
    if not _URI.fullmatch(full):
        raise ModelInvalid(
            f'"{uri[:100]}" is not a model URI',
            detail="It is NAME or NAME:VERSION, each of letters, digits, '.', '_' and '-'.",
            hint='For example "multilingual-e5-small:v1".',
        )
    return full


class Registry:
    """The registrations in the JSON file `path`, which is made with the first of them.

    A URI stays bound to its digest also when it is unregistered, because IMMUTABLE functions were promised
    that a URI and a text always give the same vector. Threads may share a registry; processes may not.

    Raises `ModelInvalid` if the file is there and damaged, `ModelUnreadable` if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._bindings = self._load()

    def _load(self) -> dict[str, Registration]:
        try:
            text = read_plainly(self.path)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise unreadable(self.path, error) from None
        try:
            raw = json.loads(text)
            if raw["version"] != _VERSION:
                raise ValueError(f"version {raw['version']!r} is not {_VERSION}")
            bindings = {entry["uri"]: Registration(**entry) for entry in raw["registrations"]}
            for binding in bindings.values():
                _validate(binding)
            if len({binding.id for binding in bindings.values()}) != len(raw["registrations"]):
                raise ValueError("an id or URI is there twice")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelInvalid(
                f"the model registry {self.path} is damaged",
                detail=f"{type(error).__name__}: {str(error)[:300]}.",
                hint="Restore it from a backup. Or move it away and register the models again: URIs must get "
                "the models they had, or stored vectors and new ones will not match.",
            ) from None
        return bindings

    def list(self) -> list[Registration]:
        """What is registered, by id."""
        return [binding for binding in self._ordered() if binding.registered]

    def digests(self) -> set[str]:
        """Everything that a URI ever stood for; it must stay in the store."""
        return {binding.digest for binding in self._ordered()}

    def _ordered(self) -> builtins.list[Registration]:
        with self._lock:
            return sorted(self._bindings.values(), key=lambda binding: binding.id)

    def get(self, uri: str) -> Registration:
        """The registration of a URI. Raises `ModelNotFound` with those there are, or `ModelInvalid`."""
        full = normalise_uri(uri)
        with self._lock:
            found = self._bindings.get(full)
        if found is None or not found.registered:
            raise self._not_found(full)
        return found

    def _not_found(self, uri: str) -> ModelNotFound:
        known = ", ".join(registration.uri for registration in self.list())
        return ModelNotFound(
            f'model "{uri}" is not registered',
            hint=f"Registered models are: {known}." if known else "No model is registered.",
        )

    def bound(self, uri: str) -> bool:
        """Whether the URI was ever registered. Raises `ModelInvalid` for what is no URI."""
        full = normalise_uri(uri)
        with self._lock:
            return full in self._bindings

    def check(self, uri: str, digest: str) -> None:
        """Raises what `register` would raise, and changes nothing."""
        full = normalise_uri(uri)
        with self._lock:
            self._check(full, digest)

    def _check(self, full: str, digest: str) -> None:
        if not _DIGEST.fullmatch(digest):
            raise ModelInvalid(f"{digest!r} is not a digest")
        found = self._bindings.get(full)
        if found is not None and found.digest != digest:
            name, _, _ = full.partition(":")
            raise ModelConflict(
                f'model "{full}" is already bound to other content',
                detail=f"It has been {found.digest[:12]} from the beginning; this is {digest[:12]}.",
                hint=f'Register it under another version, such as "{name}:v2"; stored vectors stay usable.',
            )

    def register(self, uri: str, digest: str) -> Registration:
        """Binds a URI to content; the same again changes nothing, and an unregistered one comes back.

        Raises `ModelConflict` if the URI ever stood for other content, `ModelInvalid`, or `NotWritten`.
        """
        full = normalise_uri(uri)
        with self._lock:
            self._check(full, digest)
            found = self._bindings.get(full)
            if found is not None and found.registered:
                return found
            now = datetime.now(UTC).isoformat(timespec="seconds")
            if found is None:
                next_id = max((binding.id for binding in self._bindings.values()), default=0) + 1
                found = Registration(next_id, full, digest, registered=True, registered_at=now)
            else:
                found = replace(found, registered=True, registered_at=now)
            self._write({**self._bindings, full: found})
            return found

    def unregister(self, uri: str) -> Registration:
        """Ends a registration; returns what it was. The URI stays bound. Raises as `get`, or `NotWritten`."""
        found = self.get(uri)
        with self._lock:
            self._write({**self._bindings, found.uri: replace(found, registered=False)})
        return found

    def _write(self, bindings: dict[str, Registration]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        ordered = sorted(bindings.values(), key=lambda binding: binding.id)
        document = {"version": _VERSION, "registrations": [asdict(binding) for binding in ordered]}
        try:
            write_atomically(self.path, json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise not_written(f"the model registry {self.path}", error) from None
        self._bindings = bindings


def _validate(binding: Registration) -> None:
    kinds = (int, str, str, bool, str)
    values = (binding.id, binding.uri, binding.digest, binding.registered, binding.registered_at)
    if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
        raise ValueError("a registration has a value of the wrong type")
    if binding.id < 1 or not _URI.fullmatch(binding.uri) or not _DIGEST.fullmatch(binding.digest):
        raise ValueError(f"{binding.uri!r} is no registration")
