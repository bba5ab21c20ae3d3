"""Which tokenizers are known to take time in proportion to a text, and little of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Pipeline

from azpg_runtime.embedding.tokenizer import Tokenizer
from azpg_runtime.errors import EmbeddingError
from azpg_runtime.models import StoredModel
from azpg_runtime.models.growth import find_growth
from azpg_runtime.models.vocabulary import is_linear

from . import tiny

QUICK = [" {2,}", r"\s+", r"\d", r"[\r\n]+", r"\p{L}+", "a", ".", r"\.", "a{3}"]
SLOW = ["(a|a)*(a|aa)+$", r"\s+$", r"\s+\S", "a{99}", r"a++", "(a+)+", "a|b", "", "a*", "(?i)a"]


def splitting(expression: str) -> Pipeline:
    made = tiny.tokenizer()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(expression), "isolated")]
    )
    return made


def replacing(expression: str) -> Pipeline:
    made = tiny.tokenizer()
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Sequence([normalizers.Replace(Regex(expression), "b")])]
    )
    return made


def test_usual_tokenizers(minilm: StoredModel) -> None:
    assert is_linear(Pipeline.from_file(str(minilm.tokenizer)))
    assert is_linear(tiny.tokenizer())
    like_gpt2 = tiny.tokenizer()
    like_gpt2.pre_tokenizer = pre_tokenizers.ByteLevel()
    assert is_linear(like_gpt2)
    like_gemma = tiny.tokenizer()
    like_gemma.normalizer = normalizers.Replace(" ", "▁")
    like_gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    assert is_linear(like_gemma)


# As usual models have them: BERT, RoBERTa, Qwen, Llama, and with sentencepiece's table XLM-R and ALBERT.
TABLE = normalizers.NFKC()  # grows as that does
MARKED = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
USUAL = [
    ([normalizers.BertNormalizer()], pre_tokenizers.BertPreTokenizer(), (5, 1)),
    ([], pre_tokenizers.ByteLevel(add_prefix_space=False), (2, 2)),
    ([normalizers.NFC()], pre_tokenizers.ByteLevel(add_prefix_space=False), (6, 2)),
    ([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")], None, (12, 12)),
    ([TABLE, normalizers.Replace(Regex(" {2,}"), " ")], MARKED, (44, 4)),
    ([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), TABLE], MARKED, (726, 4)),
]


@pytest.mark.parametrize(("steps", "pre_tokenizer", "times"), USUAL)
def test_how_usual_tokenizers_let_texts_grow(
    steps: list[Any], pre_tokenizer: Any, times: tuple[float, float]
) -> None:
    made = tiny.tokenizer()
    made.normalizer, made.pre_tokenizer = normalizers.Sequence(steps), pre_tokenizer
    growth = find_growth(made)
    assert (growth.times, growth.ascii_times) == times
    for text in ("a b", "\ufdfa\u0390", "\U0001d1c0 日本", "\u023e"):
        normal = made.normalizer.normalize_str(text)
        words = (
            [normal]
            if pre_tokenizer is None
            else [word for word, _ in pre_tokenizer.pre_tokenize_str(normal)]
        )
        assert sum(len(word.encode()) for word in words) <= growth.most(text)


def test_a_text_is_measured_in_pieces() -> None:
    made = tiny.tokenizer()
    made.pre_tokenizer = None
    growth = find_growth(made)
    for text in ("ab" * 100_000, "\ufdfa" * 10_000, "ｶﾞ" * 50_000):
        real = len(made.normalizer.normalize_str(text).encode())
        assert real <= growth.measured(made, text) <= 1.01 * real + 100


def test_a_piece_does_not_hide_what_the_whole_becomes() -> None:
    """Where something far away decides, the worst is taken."""
    made = tiny.tokenizer()
    made.normalizer = normalizers.Replace(Regex(r"a(?=[\s\S]*z)"), "b" * 20)
    made.pre_tokenizer = None
    text = "a" * 10_000 + "z"
    assert find_growth(made).measured(made, text) >= len(made.normalizer.normalize_str(text))


@pytest.mark.parametrize("texts", [[], [""], ["the passage"] * 100, ["日本語"] * 20])
def test_what_takes_milliseconds_only(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tiny.tokenizer().to_str(), encoding="utf-8")
    ours = Tokenizer(path, max_tokens=16)
    assert ours.is_quick(texts)
    assert not ours.is_quick([*texts, "a" * 3000])
    assert not ours.is_quick([*texts, "日" * 100])
    path.write_text(splitting("a|b").to_str(), encoding="utf-8")
    assert not Tokenizer(path, max_tokens=16).is_quick(texts)


@pytest.mark.parametrize("expression", QUICK)
def test_what_is_found_at_once(expression: str) -> None:
    assert is_linear(splitting(expression))
    assert is_linear(replacing(expression))


@pytest.mark.parametrize("expression", SLOW)
def test_what_may_be_tried_again_and_again(expression: str) -> None:
    assert not is_linear(splitting(expression))
    assert not is_linear(replacing(expression))


def test_very_many_steps() -> None:
    made = tiny.tokenizer()
    made.normalizer = normalizers.Sequence([normalizers.Lowercase()] * 33)
    assert not is_linear(made)


def test_very_long_words() -> None:
    assert is_linear(Pipeline(models.WordPiece({"a": 0}, max_input_chars_per_word=100, unk_token="a")))
    assert not is_linear(Pipeline(models.WordPiece({"a": 0}, max_input_chars_per_word=1000, unk_token="a")))


def test_very_long_tokens() -> None:
    for length in (64, 65):
        pieces = [("<unk>", 0.0), ("a", -1.0), ("a" * length, -1.0)]
        assert is_linear(Pipeline(models.Unigram(pieces, unk_id=0, byte_fallback=False))) is (length == 64)


@pytest.mark.parametrize("text", ["", "the passage", "ab " * 5000])
def test_ids_are_the_same_however_the_library_is_run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokenizer.json"
    whole = splitting("a|b")
    path.write_text(whole.to_str(), encoding="utf-8")
    ours = Tokenizer(path, max_tokens=16)
    assert not ours.is_linear
    whole.enable_truncation(16)
    assert ours.encode([text])[0].tolist() == whole.encode(text).ids


def test_a_lone_surrogate_is_refused_however_the_library_is_run(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    for made in (splitting("a|b"), tiny.tokenizer()):
        path.write_text(made.to_str(), encoding="utf-8")
        for text in ("\ud800", "\ud800" * 5000):
            with pytest.raises(EmbeddingError, match="lone surrogate"):
                Tokenizer(path, max_tokens=16).encode([text])
