"""Texts are cut before they are tokenised, and nobody can tell from the ids."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Pipeline

from azpg_runtime.embedding.rules import find_rules
from azpg_runtime.embedding.tokenizer import Tokenizer
from azpg_runtime.errors import EmbeddingCancelled, EmbeddingError, ModelInvalid, ModelUnreadable
from azpg_runtime.models import StoredModel

from . import tiny

CUT = 8  # few tokens, so that texts of some hundred characters are long ones

ALPHABETS = [
    "abcdefgh",
    "aA",
    "a",
    " ",
    " \t\n\r",
    "\x0b\x0c\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2003\u2028\u202f\u205f\u3000",
    "\x00\x01\x7f\u00ad\u200b\u200c\u200d\u200e\ufeff\ufffd",
    "\u0300\u0301\u0327\u0323\u05b0\u064b\u20dd\u3099\u309a",
    "éèüñçøåİßΣςΐ",
    "日本語中文字",
    "ひらがなカタカナー、。",
    "ｶﾞﾊﾟﾞﾟ",
    "ภาษาไทยที่ำ",
    "한국어",
    "\u1100\u1161\u11a8ㄱㅏㄴ",
    "हिन्दी",
    "مرحبا\u0600\u06ddﷺﷻﻻ",
    "\u0d4e\U000110bd\U00011a3a",
    "😀👨\u200d👩\u200d👧🇩🇪👍🏽",
    "0123456789٣④",
    ".,;:!?-_()[]{}<>/\\'\"`~@#$%^&*+=|",
    "𝒜𝓑𠀀𠀁\U0001f9ff\U000e0041",
    "▁",
    "ŀǆﬁﬃ㌀㍿½Ⅷ㉠㈀=≠€©",
]
TOKENS = ["[MASK]", "[CLS]", "[PAD", "]", "<mask>", "<s>", "</s", ">", "<ma", "sk>", "[", "unk", "<", "aaaa"]


def runs() -> st.SearchStrategy[str]:
    some = st.sampled_from(ALPHABETS).flatmap(
        lambda letters: st.text(st.sampled_from(letters), min_size=1, max_size=9)
    )
    anything = st.text(max_size=6)
    one = st.one_of(some, some, st.sampled_from(TOKENS), anything)
    return st.builds(lambda text, times: text * times, one, st.one_of(st.integers(1, 4), st.integers(1, 150)))


TEXTS = st.lists(runs(), max_size=14).map("".join)


@cache
def unigram(folder: Path) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(tiny.tokenizer().to_str(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, minilm: StoredModel
) -> tuple[Tokenizer, Pipeline]:
    path = minilm.tokenizer if request.param == "wordpiece" else unigram(tmp_path_factory.mktemp("unigram"))
    whole = Pipeline.from_file(str(path))
    whole.no_padding()
    whole.enable_truncation(CUT)
    return Tokenizer(path, max_tokens=CUT), whole


both = pytest.mark.parametrize("pair", ["wordpiece", "unigram"], indirect=True)


@both
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=TEXTS)
def test_ids_are_those_of_the_whole_text(pair: tuple[Tokenizer, Pipeline], text: str) -> None:
    ours, whole = pair
    assert ours.encode([text])[0].tolist() == whole.encode(text).ids


@both
@pytest.mark.parametrize("token", ["[MASK]", "<mask>", "<s>", "[SEP]"])
def test_no_cut_inside_an_added_token(pair: tuple[Tokenizer, Pipeline], token: str) -> None:
    """Wherever the limit of what is tokenised first may fall in it."""
    ours, whole = pair
    for lead in range(110, 130):
        text = "x" * lead + "...." + token + "." * 200
        assert ours.encode([text])[0].tolist() == whole.encode(text).ids


@pytest.mark.parametrize(
    ("before", "after", "sure"),
    [
        ("日", "本", True),
        ("か", "な", True),
        ("a", "b", True),
        ("é", "!", True),
        ("😀", "😀", True),
        ("か", "\u3099", False),  # composes
        ("e", "\u0301", False),
        ("\u1100", "\u1161", False),  # Jamo compose
        ("ㄱ", "ㅏ", False),  # after compatibility decomposition
        ("㉠", "ㅏ", False),
        ("ｶ", "ﾞ", False),
        ("\u0d4e", "क", False),  # one grapheme cluster
        ("ก", "ำ", False),
        ("🇩", "🇪", False),
        ("👩", "\u200d", False),
        ("\u200d", "👧", False),
        ("<", "m", False),  # within <mask>
        ("m", "a", False),
        ("\uff1c", "\uff4d", False),  # the same after normalisation
    ],
)
def test_where_a_composing_normaliser_may_be_cut(before: str, after: str, sure: bool) -> None:
    rules = find_rules(tiny.tokenizer())
    assert rules is not None
    assert rules.divides(before + after, 1) is sure


@pytest.mark.parametrize(
    ("before", "sure"), [("a", True), ("。", True), ("\u0600", False), ("\u0d4e", False)]
)
def test_where_a_word_ends(before: str, sure: bool) -> None:
    rules = find_rules(tiny.tokenizer())
    assert rules is not None
    assert rules.ends_word(before + " ", 1) is sure
    assert not rules.ends_word(before + "\u00a0", 1)


@both
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5))
def test_a_list_gives_what_each_gives(pair: tuple[Tokenizer, Pipeline], texts: list[str]) -> None:
    ours, _ = pair
    assert [ids.tolist() for ids in ours.encode(texts)] == [ours.encode([text])[0].tolist() for text in texts]


UNITS = {
    "words": "hello world, this is text. ",
    "one word": "a",
    "ideographs": "日本語",
    "kana": "ひらがなカタ",
    "thai": "ภาษาไทยที่",
    "devanagari": "हिन्दी",
    "spaces": " ",
    "controls": "\x01",
    "accents": "\u0301",
    "letters and controls": "a\x01",
    "decomposed": "e\u0301",
    "emoji": "😀",
    "base64": "QWxh+ZGRp/",
}

MEASURE = """
import resource, sys
from pathlib import Path
from azpg_runtime.embedding.tokenizer import Tokenizer
tokenizer = Tokenizer(Path(sys.argv[1]), max_tokens=256)
unit = sys.argv[2]
text = unit * (5_000_000 // len(unit.encode()) + 1)
tokenizer.encode(["warm up"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(ids,) = tokenizer.encode([text])
print(len(ids), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
def test_five_megabytes_take_little_memory(minilm: StoredModel, unit: str) -> None:
    command = [sys.executable, "-c", MEASURE, str(minilm.tokenizer), unit]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    tokens, kilobytes = map(int, done.stdout.split())
    assert 2 <= tokens <= 256
    assert kilobytes < 50 * 1024


def counting(pipeline: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of what is really tokenised from now on."""
    seen: list[int] = []
    inner = pipeline._pipeline

    class Spy:
        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

        def encode(self, text: str, **options: bool) -> object:
            seen.append(len(text))
            return inner.encode(text, **options)

        def encode_batch(self, texts: list[str], **options: bool) -> object:
            seen.extend(map(len, texts))
            return inner.encode_batch(texts, **options)

    monkeypatch.setattr(pipeline, "_pipeline", Spy())
    return seen


@pytest.mark.parametrize("unit", ["some words ", "日本語のひらがな", "привет, мир! ", "😀😀"])
def test_unigram_tokenises_the_beginning_only(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Tokenizer(unigram(tmp_path), max_tokens=32)
    seen = counting(tokenizer, monkeypatch)
    (ids,) = tokenizer.encode([unit * 20_000])
    assert len(ids) == 32
    assert sum(seen) < 20_000


def test_work_that_nobody_waits_for_ends(minilm: StoredModel) -> None:
    answers = iter([False, False, True])
    with pytest.raises(EmbeddingCancelled):
        Tokenizer(minilm.tokenizer, max_tokens=16).encode(
            ["a", "b", "c", "d"], cancelled=lambda: next(answers)
        )


def test_growing_asks_too(minilm: StoredModel) -> None:
    answers = iter([False, False, True])
    with pytest.raises(EmbeddingCancelled):
        Tokenizer(minilm.tokenizer, max_tokens=16).encode(
            ["\u2603" * 10_000], cancelled=lambda: next(answers)
        )


def test_truncation_and_padding_of_the_file_do_not_count(minilm: StoredModel) -> None:
    """MiniLM's tokenizer.json pads to 128 and cuts at 128."""
    short, long = Tokenizer(minilm.tokenizer, max_tokens=256).encode(["one", "one " * 300])
    assert (len(short), len(long)) == (3, 256)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_few_tokens(minilm: StoredModel, limit: int) -> None:
    whole = Pipeline.from_file(str(minilm.tokenizer))
    whole.no_padding()
    (ids,) = Tokenizer(minilm.tokenizer, max_tokens=max(limit, 2)).encode(["one two three " * 100])
    whole.enable_truncation(max(limit, 2))
    assert ids.tolist() == whole.encode("one two three " * 100).ids


def test_padding_is_the_tokenizers_own(minilm: StoredModel, tmp_path: Path) -> None:
    assert Tokenizer(minilm.tokenizer, max_tokens=8).pad_id == 0
    assert Tokenizer(unigram(tmp_path), max_tokens=8).pad_id == 1
    padding = tiny.tokenizer()
    padding.enable_padding(pad_id=2, pad_token="</s>", length=8)
    path = tmp_path / "padding.json"
    path.write_text(padding.to_str(), encoding="utf-8")
    tokenizer = Tokenizer(path, max_tokens=8)
    assert tokenizer.pad_id == 2
    assert len(tokenizer.encode(["a"])[0]) == 3


@pytest.mark.parametrize("times", range(200, 206))
@pytest.mark.parametrize("tail", ["", "a"])
def test_the_end_of_a_word_can_decide_its_beginning(tmp_path: Path, times: int, tail: str) -> None:
    """Of equally good ways to divide (ab)* into "abab" and one "ab", Unigram takes that with "ab" first."""
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("a", -5.0), ("b", -5.0), ("ab", -3.0), ("abab", -3.0)]
    whole = Pipeline(models.Unigram(pieces, unk_id=0))
    whole.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁")]
    )
    path = tmp_path / "tokenizer.json"
    path.write_text(whole.to_str(), encoding="utf-8")
    whole.enable_truncation(CUT)
    text = "ab" * times + tail
    assert Tokenizer(path, max_tokens=CUT).encode([text])[0].tolist() == whole.encode(text).ids


def byte_level() -> Pipeline:
    made = Pipeline(models.BPE({"a": 0, "b": 1, "\u0120": 2, "ab": 3}, [("a", "b")]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def single_word() -> Pipeline:
    made = tiny.tokenizer()
    made.add_tokens([AddedToken("query", single_word=True)])
    return made


def replacing() -> Pipeline:
    made = tiny.tokenizer()
    made.normalizer = normalizers.Replace("ab", "ba")
    return made


@pytest.mark.parametrize("make", [byte_level, single_word, replacing])
def test_without_rules_the_whole_text_is_tokenised(
    make: Callable[[], Pipeline], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_rules(make()) is None
    path = tmp_path / "tokenizer.json"
    path.write_text(make().to_str(), encoding="utf-8")
    tokenizer = Tokenizer(path, max_tokens=8)
    seen = counting(tokenizer, monkeypatch)
    text = "ab ab " * 1000
    whole = make()
    whole.enable_truncation(8)
    assert tokenizer.encode([text])[0].tolist() == whole.encode(text).ids
    assert seen == [len(text)]


def test_a_lone_surrogate_is_refused(minilm: StoredModel) -> None:
    with pytest.raises(EmbeddingError, match="surrogate"):
        Tokenizer(minilm.tokenizer, max_tokens=8).encode(["a\ud800"])


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ModelInvalid, match="is not a tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", max_tokens=8)
    with pytest.raises(ModelUnreadable, match="could not read"):
        Tokenizer(tmp_path / "absent.json", max_tokens=8)
