"""What each request means: the registry, the loaded models and the settings of one instance."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from azpg_runtime.embedding.embedder import Embedder
from azpg_runtime.errors import (
    DeadlineExceeded,
    HostBusy,
    ModelError,
    ModelInvalid,
    ModelNotFound,
    ModelUnreadable,
    ProtocolError,
    TooManyTexts,
)
from azpg_runtime.host import protocol
from azpg_runtime.host.code_version import code_version
from azpg_runtime.host.deployments import Deployments
from azpg_runtime.host.engine import Engine
from azpg_runtime.host.exchange import Exchange
from azpg_runtime.host.loaded import LoadedModels
from azpg_runtime.host.preparation import at_once, prepare
from azpg_runtime.host.protocol import Frame, Kind
from azpg_runtime.host.room import Room
from azpg_runtime.host.settings import HostSettings
from azpg_runtime.host.turns import Turns
from azpg_runtime.models import ModelStore, Registration, Registry, StoredModel
from azpg_runtime.models.catalog import CATALOG
from azpg_runtime.models.registry import normalise_uri
from azpg_runtime.system.memory import default_limit

log = logging.getLogger(__name__)

MAX_REQUESTS = 1024
"""Requests to embed that may be under way at the same moment; one more is refused."""

REQUESTS_SIZE = 64 * 1024 * 1024
"""Bytes of requests that the host has received and not yet read."""

REPLIES_SIZE = 96 * 1024 * 1024
"""Bytes of requests between reading and reply: their token ids and vectors."""

_BOOKKEEPING = 256
"""Bytes that a text takes besides its tokens and its vector: an array's head, places in lists."""

_INLINE_BYTES, _INLINE_TEXTS = 8192, 256
"""A request of no more than this needs no room, and is tokenised at once if that is known to be quick. Others
take turns on a thread of the model's own, so that a text on which its tokenizer works for hours holds up no
other model.
"""

Result = TypeVar("Result")


class Service:
    """Answers requests. Lives on the event loop's thread; heavy work goes to threads of its own.

    Attributes:
        requests_room: for the bodies of large requests, from their arrival until they are read.
    """

    def __init__(
        self, *, store: ModelStore, folder: Path, models_folder: Path, memory_limit: int | None = None
    ) -> None:
        """Opens an instance's files.

        Args:
            store: the models of all instances.
            folder: where this instance's registrations and settings are kept; made if it is missing.
            models_folder: below it lie the files that a registration may name by path.
            memory_limit: bytes that loaded models may take; by default `default_limit`.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._code_version = code_version()  # before an upgrade replaces the files
        self._store = store
        self._models_folder = models_folder
        self._registry = Registry(folder / "registry.json")
        self._settings_file = folder / "settings.json"
        self._settings = HostSettings.load(self._settings_file)
        limit = default_limit() if memory_limit is None else memory_limit
        self._models = LoadedModels(store, self._settings, limit=limit, name=self._name)
        self.requests_room = Room(REQUESTS_SIZE)
        self._room = Room(REPLIES_SIZE)
        self._under_way = 0
        self._engine = Engine()
        self._preparing: dict[str, Turns] = {}  # by the model's digest
        self._importing = ThreadPoolExecutor(1, "import")
        self._registering = asyncio.Lock()
        self._deployments = Deployments(
            folder / "deployments.json",
            self._registry,
            store,
            lambda uri, name: self._register(protocol.Register(uri, name)),
        )
        self._setting = asyncio.Lock()

    def preload(self) -> None:
        """Starts loading registered models and deployments, so that nobody's first call waits for them."""
        self._deployments.resume()
        for digest in self._models.preload(one.digest for one in self._registry.list()):
            log.info("no room to load %s in advance", self._name(digest))

    def close(self) -> None:
        """Ends the threads; what runs is terminated."""
        self._engine.stop()
        for turns in self._preparing.values():
            turns.stop()
        self._store.stop_imports()
        self._importing.shutdown(wait=False, cancel_futures=True)
        self._models.close()

    async def answer(self, exchange: Exchange) -> Frame:
        """The reply to one request. Raises `RuntimeTwinError` for what is to be answered with an error."""
        request, body = exchange.frame.request_id, exchange.frame.body
        match exchange.frame.kind:
            case Kind.EMBED:
                reply = await self._embed(exchange)
            case Kind.REGISTER:
                reply = protocol.integer(request, await self._register(protocol.Register.unpack(body)))
            case Kind.UNREGISTER | Kind.UNLOAD | Kind.LOADED | Kind.METADATA:
                registration = await self._registered(protocol.unpack_string(body))
                reply = self._of_model(exchange.frame, registration)
            case Kind.GET_SETTINGS:
                reply = protocol.text(
                    request, json.dumps(self._settings.select(protocol.unpack_strings(body)))
                )
            case Kind.SET_SETTINGS:
                await self._set(protocol.unpack_pairs(body))
                reply = protocol.done(request)
            case Kind.DEPLOY:
                for uri, name in protocol.unpack_pairs(body):
                    self._deployments.wish(uri, name)
                reply = protocol.done(request)
            case Kind.STATUS:
                reply = protocol.text(request, json.dumps(self._status()))
            case _:
                raise ProtocolError(f"{exchange.frame.kind.name} is no request")
        return reply

    def _of_model(self, frame: Frame, registration: Registration) -> Frame:
        """The reply to a request that concerns a registered model and needs no waiting."""
        match frame.kind:
            case Kind.UNREGISTER:
                self._registry.unregister(registration.uri)
                if not self._uris(registration.digest):
                    self._models.unload(registration.digest)
            case Kind.UNLOAD:
                self._models.unload(registration.digest)
            case Kind.LOADED:
                return protocol.boolean(frame.request_id, self._models.is_loaded(registration.digest))
            case _:
                return protocol.text(frame.request_id, json.dumps(self._metadata(registration)))
        return protocol.done(frame.request_id)

    async def _embed(self, exchange: Exchange) -> Frame:
        if self._under_way >= MAX_REQUESTS:
            raise HostBusy(
                f"the model host already has {MAX_REQUESTS} requests waiting",
                hint="Repeat the call later, or use fewer sessions with larger arrays.",
            )
        self._under_way += 1
        try:
            uri, count, texts = protocol.read_embed(exchange.frame.body)
            async with self._models.use((await self._registered(uri)).digest) as embedder:
                return await self._compute(embedder, exchange, count, texts)
        finally:
            self._under_way -= 1

    async def _compute(
        self, embedder: Embedder, exchange: Exchange, count: int, texts: Iterable[str]
    ) -> Frame:
        most = protocol.most_texts(embedder.dimensions)
        if count > most:
            raise TooManyTexts(
                f"{count} texts are more than one request may have",
                detail=f"A reply has room for {most} vectors of {embedder.dimensions} dimensions.",
                hint="Send them in several requests.",
            )
        size = len(exchange.frame.body)
        small = count <= _INLINE_TEXTS and size <= _INLINE_BYTES
        if small:
            texts = list(texts)
        else:
            await exchange.reserve(self._room, footprint(embedder, count, size))
        reply, matrix = protocol.vectors(exchange.frame.request_id, count, embedder.dimensions)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(failure: Exception | None) -> None:
            loop.call_soon_threadsafe(_settle, done, failure)

        given_up = False
        steps = prepare(embedder, texts, matrix, finish, cancelled=lambda: given_up)
        try:
            if isinstance(texts, list) and embedder.tokenizer.is_quick(texts):
                job = at_once(steps)
            else:
                job = await asyncio.wrap_future(self._turns(embedder).submit(steps))
        except asyncio.CancelledError:
            given_up = True
            raise
        exchange.read()
        if count:
            job.release = self._models.keep(embedder)
            self._engine.submit(job)
            try:
                await done
            finally:
                self._engine.drop(job)
        return reply

    def _turns(self, embedder: Embedder) -> Turns:
        """Where a model's texts are prepared, also those of a copy of it that has been unloaded."""
        digest = embedder.model.digest
        if digest not in self._preparing:
            self._preparing[digest] = Turns("prepare")
        return self._preparing[digest]

    async def _register(self, request: protocol.Register) -> int:
        async with self._registering:
            try:
                model = await self._in_thread(self._importing, lambda: self._find(request))
            except asyncio.CancelledError:
                self._store.stop_imports()  # nobody waits for it, and the next one does
                raise
            self._registry.check(request.uri, model.digest)
            async with self._models.use(model.digest):
                return self._registry.register(request.uri, model.digest).id

    def _find(self, request: protocol.Register) -> StoredModel:
        """The model that a registration names: in the store, or by a path below the models folder."""
        if request.tokenizer is None and request.path in self._store.names():
            return self._store.get(request.path)
        path = self._allowed(request.path)
        if path is None:
            if "/" not in request.path:
                model = self._store.get(request.path)
                if request.tokenizer is not None:
                    raise ModelInvalid(
                        f'"{request.path}" is a model of the store, which has a tokenizer of its own',
                        detail=f'The third argument is "{request.tokenizer}".',
                        hint="Leave the third argument out, or name an .onnx file below the models folder.",
                    )
                return model
            raise ModelUnreadable(
                f'model_path "{request.path}" is neither a model of the store nor below the models folder',
                detail=f"The models folder is {self._models_folder}.",
                hint="List the store with `azpg models list`, or put the file into the models folder.",
            )
        if path.is_dir() and request.tokenizer is None:
            return self._store.import_folder(path)
        tokenizer = self._allowed(request.tokenizer or str(path.parent / "tokenizer.json"))
        if tokenizer is None:
            named = request.tokenizer or "tokenizer.json"
            raise ModelUnreadable(
                f'tokenizer_path "{named}" is not a file below the models folder',
                detail=f"The models folder is {self._models_folder}.",
                hint="Put tokenizer.json beside the model, or name it as the third argument.",
            )
        return self._store.import_onnx(path, tokenizer)

    def _allowed(self, name: str) -> Path | None:
        """The real path of `name` if it exists below the models folder, wherever links may lead."""
        folder = self._models_folder.resolve()
        try:
            path = (folder / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return None
        return path if path.is_relative_to(folder) and path != folder else None

    def _metadata(self, registration: Registration) -> dict[str, Any]:
        description = self._store.by_digest(registration.digest).description
        return {
            "uri": registration.uri,
            "id": registration.id,
            "name": description.name,
            "dimensions": description.dimensions,
            "max_tokens": description.max_tokens,
            "pooling": description.pooling,
            "normalized": description.normalize,
            "licence": description.licence,
            "source": description.source,
            "digest": registration.digest,
            "files": {
                name: {"size": file.size, "sha256": file.sha256} for name, file in description.files.items()
            },
            "loaded": self._models.is_loaded(registration.digest),
            "memory": self._models.memory(registration.digest),
        }

    def _status(self) -> dict[str, Any]:
        counters = self._engine.counters
        return {
            "pid": os.getpid(),
            "azpg": self._code_version,
            "models": [
                {"uri": one.uri, "digest": one.digest, "loaded": self._models.is_loaded(one.digest)}
                for one in self._registry.list()
            ],
            "deployments": self._deployments.status(),
            "memory": {"limit": self._models.limit, "in_use": self._models.in_use},
            "waiting": self._under_way,
            "counters": {name: getattr(counters, name) for name in counters.__slots__},
            "settings": self._settings.in_force(),
        }

    async def _set(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Changes the settings, all or none."""
        async with self._setting:
            changed = self._settings.changed(pairs)
            if changed == self._settings:
                return
            async with self._models.changing(changed):
                # From here on nothing is waited for: no deadline comes between.
                changed.save(self._settings_file)
                self._settings = changed

    def _uris(self, digest: str) -> list[str]:
        return [one.uri for one in self._registry.list() if one.digest == digest]

    async def _registered(self, uri: str) -> Registration:
        """The registration of a URI, once its deployment is over if it has one. Raises `ModelNotFound`."""
        await self._deployments.settle(uri)
        try:
            return self._registry.get(uri)
        except ModelNotFound as error:
            raise ModelNotFound(
                error.message, detail=error.detail, hint=self._way_to(normalise_uri(uri)) or error.hint
            ) from None

    def _way_to(self, uri: str) -> str:
        """How a URI is registered whose name is in the store or can be fetched; '' for others."""
        name = uri.partition(":")[0].lower()
        call = f"SELECT azure_local_ai.model_register('{uri}', '{name}');"
        if name not in self._store.names():
            fetch = f"Fetch it with `azpg models pull {name}`, then register it as azure_pg_admin: {call}"
            return fetch if name in CATALOG else ""
        try:
            self._registry.check(uri, self._store.get(name).digest)
        except ModelError:  # damaged, or the URI is bound to other content
            return ""
        return f"The model store has it; register it as azure_pg_admin: {call}"

    def _name(self, digest: str) -> str:
        """What people call a model, which may not be registered yet."""
        return ", ".join(self._uris(digest)) or self._store.by_digest(digest).description.name

    @staticmethod
    async def _in_thread(executor: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, work)


def footprint(embedder: Embedder, count: int, size: int) -> int:
    """Bytes that a request takes between its texts and its reply: token ids, and vectors.

    Args:
        embedder: the model.
        count: texts.
        size: their bytes; one of them makes hardly ever more than one token.
    """
    tokens = min(count * embedder.max_tokens, size + 2 * count)
    return 4 * tokens + count * (4 * embedder.dimensions + _BOOKKEEPING)


def _settle(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


async def answer_in_time(service: Service, exchange: Exchange) -> Frame:
    """`Service.answer`, bounded by the request's deadline. Raises `DeadlineExceeded`."""
    if not exchange.frame.deadline:
        return await service.answer(exchange)
    loop = asyncio.get_running_loop()
    # The event loop's clock is CLOCK_MONOTONIC, as the deadline's is.
    deadline = exchange.frame.deadline / 1e9
    try:
        if deadline <= loop.time():  # a timeout would let it begin, up to its first wait
            raise TimeoutError
        async with asyncio.timeout_at(deadline):
            return await service.answer(exchange)
    except TimeoutError:
        raise DeadlineExceeded(
            "timed out before the model host had finished",
            hint="Raise timeout_ms, or send fewer or shorter texts in one call.",
        ) from None
