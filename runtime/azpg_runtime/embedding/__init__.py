"""Text to vectors: tokenizer, micro-batches, ONNX session, pooling. No I/O beyond a model's files."""
