"""Embedding models on disk: what they are, where they come from, and the store that keeps them.

The public face, used by `azpg_runtime.embedding`, the host and the command line:

`ModelDescription`
    What a model is: dimensions, max tokens, pooling, digests. Frozen; written as ``description.json``.
`ModelStore`
    The content-addressed folder ``AZPG_HOME/models``, shared by all instances.
`Registry`
    Which URIs of one instance stand for which content, for good.
"""
