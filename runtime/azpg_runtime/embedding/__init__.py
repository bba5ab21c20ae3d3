"""Text to vectors: tokenizer, micro-batches, ONNX session, pooling. No I/O beyond a model's files.

`Embedder` is the public face: ``Embedder(store.get("all-minilm-l6-v2")).embed(["a text"])``.
"""

from azpg_runtime.embedding.embedder import MAX_TEXT, Embedder

__all__ = ["MAX_TEXT", "Embedder"]
