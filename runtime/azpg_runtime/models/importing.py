"""From files as other people have them to the files of the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from azpg_runtime.errors import ModelInvalid, ModelUnreadable
from azpg_runtime.models.bert import BertConfig, convert_bert
from azpg_runtime.models.description import MODEL, TOKENIZER, FileDigest, ModelDescription
from azpg_runtime.models.foreign_folder import ForeignFile, ForeignFolder
from azpg_runtime.models.recipe import Recipe, read_recipe
from azpg_runtime.models.sources import digest_file
from azpg_runtime.models.vocabulary import highest_id, load_tokenizer, padding_id
from azpg_runtime.models.wrap import read_onnx, trial, wrap_onnx

_SAFETENSORS = "model.safetensors"
_CONFIG = "config.json"
_ONNX_FOLDER = "onnx"
_ONNX_PLACES = (MODEL, f"{_ONNX_FOLDER}/{MODEL}")


@dataclass(frozen=True, slots=True)
class Origin:
    """What files cannot say of themselves.

    Attributes:
        name: what the description calls the model; None for the name of its file or folder.
        licence: SPDX identifier, if known.
        source: where it came from, for people; None for the name of its file or folder.
        expected: SHA-256 that files must have, by name.
    """

    name: str | None = None
    licence: str | None = None
    source: str | None = None
    expected: Mapping[str, str] = field(default_factory=dict)

    def check(self, files: Mapping[str, FileDigest]) -> None:
        """Raises `ModelInvalid` for a file that does not have the expected content."""
        for name, sha256 in self.expected.items():
            if name in files and files[name].sha256 != sha256:
                raise ModelInvalid(
                    f"{name} does not have the expected content",
                    detail=f"Its SHA-256 is {files[name].sha256}, expected was {sha256}.",
                )


class Source(Protocol):
    """A model that is about to be added."""

    @property
    def tokenizer(self) -> ForeignFile:
        """Its tokenizer.json."""

    @property
    def known(self) -> ModelDescription | None:
        """Its description, if that can be told before the work is done."""

    def build(self, target: Path) -> ModelDescription:
        """Writes model.onnx and its weights into `target`. Raises `ModelInvalid` or `ModelUnreadable`."""


@dataclass(frozen=True, slots=True)
class BertSource:
    """A BERT model in safetensors; see `open_source`."""

    weights: ForeignFile
    tokenizer: ForeignFile
    config: BertConfig
    recipe: Recipe
    known: ModelDescription

    @classmethod
    def open(cls, folder: ForeignFolder, config: BertConfig, origin: Origin) -> BertSource:
        """Reads everything of a folder but the weights' values."""
        weights, tokenizer = folder.file(_SAFETENSORS), folder.file(TOKENIZER)
        recipe = read_recipe(tokenizer)
        files = {_SAFETENSORS: digest_file(weights), TOKENIZER: digest_file(tokenizer)}
        origin.check(files)
        description = ModelDescription(
            name=origin.name or folder.path.name,
            architecture="bert",
            dimensions=config.hidden,
            max_tokens=recipe.max_tokens,
            pooling=recipe.pooling,
            normalize=recipe.normalize,
            licence=origin.licence,
            source=origin.source or f"folder {folder.path.name}",
            files=files,
            parameters=config.parameters,
        )
        return cls(weights, tokenizer, config, recipe, description)

    def build(self, target: Path) -> ModelDescription:
        """See `Source`."""
        highest = highest_id(load_tokenizer(self.tokenizer))
        convert_bert(self.weights, self.config, self.recipe, target, highest_token=highest)
        return self.known


@dataclass(frozen=True, slots=True)
class GraphSource:
    """An encoder that is ONNX already, with its tokenizer; see `open_source`."""

    graph: ForeignFile
    tokenizer: ForeignFile
    origin: Origin

    known = None

    def build(self, target: Path) -> ModelDescription:
        """See `Source`."""
        graph = read_onnx(self.graph)
        tokenizer = load_tokenizer(self.tokenizer)
        recipe = read_recipe(self.tokenizer)
        files = {**graph.digests, TOKENIZER: digest_file(self.tokenizer)}
        self.origin.check(files)
        wrapped = wrap_onnx(graph, recipe, target)
        dimensions = trial(
            target / MODEL,
            highest_token=highest_id(tokenizer),
            max_tokens=recipe.max_tokens,
            padding=padding_id(tokenizer),
        )
        path = self.graph.path
        generic = path.stem.startswith("model")  # the folder says more than that
        return ModelDescription(
            name=self.origin.name or (path.parent.name if generic else path.stem),
            architecture="onnx",
            dimensions=dimensions,
            max_tokens=recipe.max_tokens,
            pooling=wrapped.pooling,
            normalize=wrapped.normalize,
            licence=self.origin.licence,
            source=self.origin.source or f"file {path.name}",
            files=files,
        )


def open_source(path: Path, origin: Origin) -> Source:
    """The model in the folder `path`, or the .onnx file `path` with the tokenizer.json that belongs to it.

    A folder looks as models on the hub do: model.safetensors and config.json of a BERT model, or model.onnx,
    also in onnx/; with tokenizer.json and, if it has them, sentence-transformers' files.

    Raises `ModelInvalid` or `ModelUnreadable`.
    """
    if path.is_file():
        return graph_source(path, None, origin)
    if not path.is_dir():
        raise ModelUnreadable(
            f"could not read {path}: there is no such file or folder",
            hint="Name a folder with the model's files, as the Hugging Face hub has them, or an .onnx file.",
        )
    folder = ForeignFolder(path)
    graph = next((file for file in map(folder.file, _ONNX_PLACES) if file.exists()), None)
    config = folder.file(_CONFIG)
    if folder.file(_SAFETENSORS).exists() and config.exists():
        try:
            return BertSource.open(folder, BertConfig.read(config), origin)
        except ModelInvalid:
            if graph is None:
                raise
    if graph is None:
        raise ModelInvalid(
            f"{path} holds no model",
            detail=f"It needs {_SAFETENSORS} and {_CONFIG}, or {MODEL}; and {TOKENIZER}.",
        )
    beside = graph.beside(TOKENIZER)
    return GraphSource(graph, beside if beside.exists() else folder.file(TOKENIZER), origin)


def graph_source(path: Path, tokenizer: Path | None, origin: Origin) -> GraphSource:
    """The .onnx file `path`, with the tokenizer.json that belongs to it, or with another.

    Raises `ModelUnreadable`.
    """
    if tokenizer is not None:
        return GraphSource(
            ForeignFolder(path.parent).file(path.name),
            ForeignFolder(tokenizer.parent).file(tokenizer.name),
            origin,
        )
    if path.parent.name == _ONNX_FOLDER and not (path.parent / TOKENIZER).exists():
        folder = ForeignFolder(path.parent.parent)
        return GraphSource(folder.file(f"{_ONNX_FOLDER}/{path.name}"), folder.file(TOKENIZER), origin)
    folder = ForeignFolder(path.parent)
    return GraphSource(folder.file(path.name), folder.file(TOKENIZER), origin)
