"""Embedding models on disk: what they are, where they come from, and the store that keeps them.

The public face, used by `azpg_runtime.embedding`, the host and the command line:

`ModelDescription`
    What a model is: dimensions, max tokens, pooling, digests. Frozen; written as ``description.json``.
`ModelStore`
    The content-addressed folder ``AZPG_HOME/models``, shared by all instances; holds `StoredModel`.
`Registry`
    Which URIs of one instance stand for which content, for good.
`azpg_runtime.models.pull.pull`
    Fetches a model of `azpg_runtime.models.catalog.CATALOG` into a store.
"""

from azpg_runtime.models.description import FileDigest, ModelDescription
from azpg_runtime.models.registry import Registration, Registry
from azpg_runtime.models.store import ModelStore
from azpg_runtime.models.stored import StoredModel

__all__ = ["FileDigest", "ModelDescription", "ModelStore", "Registration", "Registry", "StoredModel"]
