"""What each request means: the registry, the loaded models and the settings of one instance."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from azpg_runtime.embedding.embedder import Embedder
from azpg_runtime.errors import DeadlineExceeded, ModelUnreadable, ProtocolError, TooManyTexts
from azpg_runtime.host import protocol
from azpg_runtime.host.deployments import Deployments
from azpg_runtime.host.engine import Engine
from azpg_runtime.host.preparation import at_once, prepare
from azpg_runtime.host.protocol import Frame, Kind
from azpg_runtime.host.scheduler import Outcome
from azpg_runtime.host.settings import HostSettings
from azpg_runtime.host.turns import Turns
from azpg_runtime.models import ModelStore, Registry, StoredModel
from azpg_runtime.models.registry import Registration

_INLINE_BYTES, _INLINE_TEXTS = 8192, 256
"""A request of no more than this is tokenised at once; a larger one takes turns on a thread of its own."""

Result = TypeVar("Result")


class Service:
    """Answers requests. Lives on the event loop's thread; heavy work goes to threads of its own."""

    def __init__(self, *, store: ModelStore, folder: Path, models_folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store = store
        self._models_folder = models_folder
        self._registry = Registry(folder / "registry.json")
        self._settings_file = folder / "settings.json"
        self._settings = HostSettings.load(self._settings_file)
        self._loaded: dict[str, asyncio.Task[Embedder]] = {}
        self._engine = Engine()
        self._preparing = Turns("prepare")
        self._loading = ThreadPoolExecutor(1, "load")
        self._registering = asyncio.Lock()
        self._deployments = Deployments(
            folder / "deployments.json",
            self._registry,
            store,
            lambda uri, name: self._register(protocol.Register(uri, name)),
        )
        self._setting = asyncio.Lock()

    def preload(self) -> None:
        """Starts loading every registered model and every deployment, so that nobody's first call waits."""
        self._deployments.resume()
        for registration in self._registry.list():
            self._load(registration.digest)

    def close(self) -> None:
        """Ends the threads; what runs is terminated."""
        self._engine.stop()
        self._preparing.stop()
        self._loading.shutdown(wait=False, cancel_futures=True)

    async def answer(self, frame: Frame) -> Frame:
        """The reply to one request. Raises `RuntimeTwinError` for what is to be answered with an error."""
        request, body = frame.request_id, frame.body
        match frame.kind:
            case Kind.EMBED:
                reply = protocol.vectors(request, await self._embed(body))
            case Kind.REGISTER:
                reply = protocol.integer(request, await self._register(protocol.Register.unpack(body)))
            case Kind.UNREGISTER | Kind.UNLOAD | Kind.LOADED | Kind.METADATA:
                registration = await self._registered(protocol.unpack_string(body))
                reply = self._of_model(frame, registration)
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
                raise ProtocolError(f"{frame.kind.name} is no request")
        return reply

    def _of_model(self, frame: Frame, registration: Registration) -> Frame:
        """The reply to a request that concerns a registered model and needs no waiting."""
        match frame.kind:
            case Kind.UNREGISTER:
                self._registry.unregister(registration.uri)
                if all(one.digest != registration.digest for one in self._registry.list()):
                    self._forget(registration)
            case Kind.UNLOAD:
                self._forget(registration)
            case Kind.LOADED:
                return protocol.boolean(frame.request_id, self._is_loaded(registration.digest))
            case _:
                return protocol.text(frame.request_id, json.dumps(self._metadata(registration)))
        return protocol.done(frame.request_id)

    async def _embed(self, body: bytes) -> npt.NDArray[np.float32]:
        uri, count, texts = protocol.read_embed(body)
        embedder = await self._embedder(uri)
        most = protocol.most_texts(embedder.dimensions)
        if count > most:
            raise TooManyTexts(
                f"{count} texts are more than one request may have",
                detail=f"Of {embedder.dimensions} dimensions, the vectors of {most} texts fit into a reply.",
                hint="Send them in several requests.",
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[npt.NDArray[np.float32]] = loop.create_future()

        def finish(outcome: Outcome) -> None:
            loop.call_soon_threadsafe(_settle, future, outcome)

        given_up = False
        steps = prepare(embedder, texts, finish, cancelled=lambda: given_up)
        if count <= _INLINE_TEXTS and len(body) <= _INLINE_BYTES:
            job = at_once(steps)
        else:
            try:
                job = await asyncio.wrap_future(self._preparing.submit(steps))
            except asyncio.CancelledError:
                given_up = True
                raise
        if not count:
            return np.empty((0, embedder.dimensions), dtype=np.float32)
        self._engine.submit(job)
        try:
            return await future
        finally:
            self._engine.drop(job)

    async def _register(self, request: protocol.Register) -> int:
        async with self._registering:
            model = await self._in_thread(self._loading, lambda: self._find(request))
            self._registry.check(request.uri, model.digest)
            await asyncio.shield(self._load(model.digest))
            return self._registry.register(request.uri, model.digest).id

    def _find(self, request: protocol.Register) -> StoredModel:
        """The model that a registration names: in the store, or by a path below the models folder."""
        if request.tokenizer is None and request.path in self._store.names():
            return self._store.get(request.path)
        path = self._allowed(request.path)
        if path is None:
            if "/" not in request.path:
                return self._store.get(request.path)
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
            "loaded": self._is_loaded(registration.digest),
        }

    def _status(self) -> dict[str, Any]:
        counters = self._engine.counters
        return {
            "pid": os.getpid(),
            "models": [
                {"uri": one.uri, "digest": one.digest, "loaded": self._is_loaded(one.digest)}
                for one in self._registry.list()
            ],
            "deployments": self._deployments.status(),
            "waiting": self._engine.waiting,
            "counters": {name: getattr(counters, name) for name in counters.__slots__},
            "settings": self._settings.in_force(),
        }

    async def _set(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Changes the settings, all or none: until the last model is loaded anew, nothing has changed."""
        async with self._setting:
            changed = self._settings.changed(pairs)
            anew: dict[str, asyncio.Task[Embedder]] = {}
            while missing := [digest for digest in self._wanted() if digest not in anew]:
                for digest in missing:
                    anew[digest] = asyncio.create_task(self._load_now(digest, changed))
                    await anew[digest]
            # From here on nothing is waited for: no deadline comes between.
            changed.save(self._settings_file)
            self._settings = changed
            # A call that runs keeps the session it started with.
            self._loaded = {digest: anew[digest] for digest in self._wanted()}

    def _wanted(self) -> list[str]:
        """What is loaded or being loaded."""
        return [digest for digest, task in self._loaded.items() if not _failed(task)]

    async def _registered(self, uri: str) -> Registration:
        """The registration of a URI, once its deployment is over if it has one. Raises `ModelNotFound`."""
        await self._deployments.settle(uri)
        return self._registry.get(uri)

    async def _embedder(self, uri: str) -> Embedder:
        task = self._load((await self._registered(uri)).digest)
        return task.result() if task.done() else await asyncio.shield(task)

    def _load(self, digest: str) -> asyncio.Task[Embedder]:
        """The task that loads a model, or has loaded it; a failed one is tried again."""
        task = self._loaded.get(digest)
        if task is None or _failed(task):
            task = asyncio.get_running_loop().create_task(self._load_now(digest, self._settings))
            self._loaded[digest] = task
        return task

    async def _load_now(self, digest: str, settings: HostSettings) -> Embedder:
        return await self._in_thread(
            self._loading,
            lambda: Embedder(
                self._store.by_digest(digest),
                intra_op_threads=settings.intra_op_threads,
                inter_op_threads=settings.inter_op_parallelism,
                spin=settings.spin_control,
            ),
        )

    def _is_loaded(self, digest: str) -> bool:
        task = self._loaded.get(digest)
        return task is not None and task.done() and not _failed(task)

    def _forget(self, registration: Registration) -> None:
        self._loaded.pop(registration.digest, None)

    @staticmethod
    async def _in_thread(executor: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, work)


def _failed(task: asyncio.Task[Embedder]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _settle(future: asyncio.Future[npt.NDArray[np.float32]], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


async def answer_in_time(service: Service, frame: Frame) -> Frame:
    """`Service.answer`, bounded by the frame's deadline. Raises `DeadlineExceeded`."""
    if not frame.deadline:
        return await service.answer(frame)
    loop = asyncio.get_running_loop()
    deadline = frame.deadline / 1e9  # the event loop's clock is CLOCK_MONOTONIC, as the deadline's is
    try:
        if deadline <= loop.time():  # a timeout would let it begin, up to its first wait
            raise TimeoutError
        async with asyncio.timeout_at(deadline):
            return await service.answer(frame)
    except TimeoutError:
        raise DeadlineExceeded(
            "timed out before the model host had finished",
            hint="Raise timeout_ms, or send fewer or shorter texts in one call.",
        ) from None
