"""A BERT model so small that a test can make it, with a tokenizer like multilingual-e5-small's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from azpg_runtime.models.catalog import CatalogEntry, HubSource, PackageSource

HIDDEN, LAYERS, HEADS, INNER, POSITIONS = 32, 2, 4, 64, 40
MAX_TOKENS = 32

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_PIECES = [
    "▁", "▁the", "▁a", "▁of", "th", "he", "in", "er", "an", "ing", "▁pass", "age", "▁query", ":", ".", ",",
    "aa", "aaa", "▁aaaa", "ab", "ba", "abab", "日", "日本", "本語", "語", "日本語",
    "ひら", "がな", "カ", "한", "국어", "é", "ü", "ภา",
    "ษา", "▁привет", "при", "ве", "т", "0", "12", "123", "٣", "😀", "!", "-", "--",
]  # fmt: skip


def tokenizer() -> Tokenizer:
    """Unigram as XLM-R has it: <s>=0 <pad>=1 </s>=2 <unk>=3, a ▁ before each word, <mask> added last."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [*_PIECES, *(letter for letter in letters if letter not in _PIECES)]
    vocabulary = [(token, 0.0) for token in _SPECIAL]
    vocabulary += [(piece, -2.0 - (7 * at % 13) / 3) for at, piece in enumerate(pieces)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=False))
    made.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(left=False, right=True),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    made.add_special_tokens([AddedToken(token, normalized=False) for token in _SPECIAL])
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=True)])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return made


def config(**changes: object) -> dict[str, object]:
    """The config.json of the tiny model; its pad_token_id contradicts the tokenizer as e5's does."""
    return {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "vocab_size": tokenizer().get_vocab_size(with_added_tokens=True),
        "pad_token_id": 0,
        **changes,
    }


def weights(rows: int, *, seed: int = 1) -> dict[str, np.ndarray]:
    """Random weights under the names that a BertModel has them under."""
    random = np.random.default_rng(seed)

    def values(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": values(rows, HIDDEN),
        "embeddings.position_embeddings.weight": values(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": values(2, HIDDEN),
        "embeddings.LayerNorm.weight": 1 + values(HIDDEN),
        "embeddings.LayerNorm.bias": values(HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        linear = {f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        linear |= {"attention.output.dense": (HIDDEN, HIDDEN)}
        linear |= {"intermediate.dense": (INNER, HIDDEN), "output.dense": (HIDDEN, INNER)}
        for name, shape in linear.items():
            made[f"{prefix}{name}.weight"] = values(*shape)
            made[f"{prefix}{name}.bias"] = values(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            made[f"{prefix}{name}.weight"] = 1 + values(HIDDEN)
            made[f"{prefix}{name}.bias"] = values(HIDDEN)
    return made


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The bytes of a safetensors file."""
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(np.int64): "I64"}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, values in tensors.items():
        place = [at, at + values.nbytes]
        header[name] = {"dtype": kinds[values.dtype], "shape": list(values.shape), "data_offsets": place}
        at += values.nbytes
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw + b"".join(values.tobytes() for values in tensors.values())


def files(*, seed: int = 1) -> dict[str, bytes]:
    """Every file of the tiny model as a hub repository has it, by path."""
    settings = config()
    rows = settings["vocab_size"]
    assert isinstance(rows, int)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    return {
        "model.safetensors": safetensors(weights(rows, seed=seed)),
        "tokenizer.json": tokenizer().to_str().encode(),
        "config.json": json.dumps(settings).encode(),
        "sentence_bert_config.json": json.dumps({"max_seq_length": MAX_TOKENS}).encode(),
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": json.dumps({"pooling_mode_mean_tokens": True}).encode(),
    }


def catalog(source: HubSource | PackageSource, **sha256: str) -> dict[str, CatalogEntry]:
    """A catalog with the tiny model alone, under the name 'tiny'."""
    made = CatalogEntry(
        name="tiny",
        summary="",
        source=source,
        licence="MIT",
        dimensions=HIDDEN,
        max_tokens=MAX_TOKENS,
        size=len(files()["model.safetensors"]),
        sha256=sha256,
    )
    return {"tiny": made}


def write(folder: Path, content: dict[str, bytes] | None = None) -> Path:
    """Writes `files()`, or `content`, into a folder."""
    for name, raw in (files() if content is None else content).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    return folder


def reference(
    tensors: dict[str, np.ndarray], ids: np.ndarray, *, pooling: str = "mean", normalize: bool = True
) -> np.ndarray:
    """The vector of one text, computed straight from the definition of BERT in float64."""
    w = {name: values.astype(np.float64) for name, values in tensors.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * w[name + ".weight"] + w[name + ".bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    erf = np.vectorize(math.erf)
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        p = f"encoder.layer.{layer}."
        q, k, v = (
            dense(x, f"{p}attention.self.{part}").reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(HIDDEN // HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = norm(x + dense(attended, f"{p}attention.output.dense"), f"{p}attention.output.LayerNorm")
        inner = dense(x, f"{p}intermediate.dense")
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        x = norm(x + dense(inner, f"{p}output.dense"), f"{p}output.LayerNorm")
    vector = x[0] if pooling == "cls" else x.mean(0)
    return vector / np.linalg.norm(vector) if normalize else vector
