"""Which cuts of a text a tokenizer cannot notice, found out from its parts.

A tokenizer that splits at whitespace first treats each word by itself. So a text may be cut where a word
ends, and tokens of words before the cut are those of the whole text. What must be sure is that nothing else
reaches across the cut: the normaliser (composition, grapheme clusters) and added tokens. Where that is not
sure, there are no rules and the tokenizer gets whole texts.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokenizers import Tokenizer as Pipeline

from azpg_runtime.models.growth import parts

WHITESPACE = " \t\n\r"
"""What Python and every tokenizer agree on; they differ on U+001C to U+001F and others."""

_SPLITTERS = {"BertPreTokenizer", "WhitespaceSplit", "Whitespace"}
_INSIDE_WORDS = {"Metaspace", "Punctuation", "Digits"}  # they look at one character at a time
_LOCAL = {"BertNormalizer", "Lowercase", "NFD", "NFKD", "StripAccents", "Strip", "Prepend"}
_COMPOSING = {"NFC", "NFKC", "Precompiled", "Nmt"}  # they look at neighbours, or at grapheme clusters

# Characters that the grapheme rules join to the next one; those of category Cf are caught by category.
_PREPENDED = frozenset("\u0d4e\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011d46\U00011f02") | {
    chr(code) for code in range(0x11A84, 0x11A8A)
}
_FORMAT = {"Cf", "Cn", "Co", "Cs"}
_IN_WORDS = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Mc"}
_PLAIN = {"Lu", "Ll", "Lo", "Nd", "Po", "Pd", "Ps", "Pe", "Sm", "Sc", "So"}
# Of these categories, what composes with a neighbour, before or after compatibility decomposition: Jamo in
# all their forms, vowel signs that are letters, half-width and presentation forms; and halves of flags.
_NOT_PLAIN = re.compile(
    "[\u0e33\u0eb3\u1100-\u11ff\u3130-\u318f\u3200-\u32ff\ua960-\ua97f\ud7b0-\ud7ff\ufb00-\ufe0f"
    "\ufe70-\ufeff\uff65-\uffdc\U0001f1e6-\U0001f1ff]"
)
_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
_EMOJI = "\U0001f300-\U0001f320\U0001f330-\U0001f335\U0001f600-\U0001f640"


@dataclass(frozen=True, slots=True)
class Rules:
    """How texts may be cut for one tokenizer.

    Attributes:
        inside: whether tokens of all words but the last are sure also if a cut is inside a word.
        composing: whether the normaliser looks at a character's neighbours.
        pairs: neighbours within an added token, raw and folded; no cut between them.
        squeezes: pattern and replacement that shorten a text without any effect on its tokens.
    """

    inside: bool
    composing: bool
    pairs: frozenset[str]
    squeezes: tuple[tuple[re.Pattern[str], str], ...]

    def squeeze(self, text: str) -> str:
        """A text with the same tokens, and no endless runs of what makes none."""
        for pattern, replacement in self.squeezes:
            text = pattern.sub(replacement, text)
        return text

    def ends_word(self, text: str, at: int) -> bool:
        """Whether a word surely ends before the character `at`."""
        before = text[at - 1]
        return (
            text[at] in WHITESPACE
            and before not in _PREPENDED
            and unicodedata.category(before) not in _FORMAT
        )

    def divides(self, text: str, at: int) -> bool:
        """Whether a cut before `at` can change the last word's tokens at most."""
        if not self.inside:
            return False
        before, after = text[at - 1], text[at]
        if before + after in self.pairs or _folded(before)[-1:] + _folded(after)[:1] in self.pairs:
            return False
        return not self.composing or (_plain(before) and _plain(after))


def _plain(character: str) -> bool:
    return (
        unicodedata.category(character) in _PLAIN
        and not _NOT_PLAIN.match(character)
        and character not in _PREPENDED
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def find_rules(pipeline: Pipeline) -> Rules | None:
    """The rules for a tokenizer, or None if it must be given whole texts."""
    steps = parts(pipeline.pre_tokenizer, "pretokenizers")
    normalizers = parts(pipeline.normalizer, "normalizers")
    added = list(pipeline.get_added_tokens_decoder().values())
    if not steps or steps[0]["type"] not in _SPLITTERS or not all(map(_understood, normalizers)):
        return None
    if any(token.single_word or _has_whitespace(token.content) for token in added):
        return None
    if not all(_splits(pipeline, f"a{blank}b") for blank in (*WHITESPACE, WHITESPACE)):
        return None
    contents = [form for token in added for form in (token.content, _folded(token.content))]
    return Rules(
        inside=all(step["type"] in _INSIDE_WORDS for step in steps[1:]),
        composing=any(normalizer["type"] in _COMPOSING for normalizer in normalizers),
        pairs=frozenset(text[at : at + 2] for text in contents for at in range(len(text) - 1)),
        squeezes=(_blank_runs(), *_bert_squeezes(pipeline, steps, normalizers, contents)),
    )


def _understood(normalizer: dict[str, Any]) -> bool:
    if normalizer["type"] == "Replace":
        pattern, content = normalizer["pattern"], normalizer["content"]
        collapses = pattern == {"Regex": " {2,}"} and content == " "
        return collapses or len(pattern.get("String", "")) == 1
    return normalizer["type"] in _LOCAL | _COMPOSING


def _has_whitespace(text: str) -> bool:
    return any(character.isspace() for character in text)


def _splits(pipeline: Pipeline, text: str) -> bool:
    normalizer, pre_tokenizer = pipeline.normalizer, pipeline.pre_tokenizer
    normal = text if normalizer is None else normalizer.normalize_str(text)
    return len(pre_tokenizer.pre_tokenize_str(normal)) == 2


def _blank_runs() -> tuple[re.Pattern[str], str]:
    return re.compile(f"([{WHITESPACE}])[{WHITESPACE}]+([{WHITESPACE}])"), r"\1\2"


def _bert_squeezes(
    pipeline: Pipeline,
    steps: list[dict[str, Any]],
    normalizers: list[dict[str, Any]],
    added: list[str],
) -> list[tuple[re.Pattern[str], str]]:
    """Runs that vanish become one character; words too long to be known become just too long."""
    kinds = [part["type"] for part in (*normalizers, *steps)]
    if kinds != ["BertNormalizer", "BertPreTokenizer"]:
        return []
    bert = normalizers[0]
    staying, marks = _bert_classes()
    strips = bert["lowercase"] if bert["strip_accents"] is None else bert["strip_accents"]
    vanishing = (_CONTROLS if bert["clean_text"] else "") + (marks if strips else "")
    squeezes = []
    longest = getattr(pipeline.model, "max_input_chars_per_word", None)
    one = f"[{staying}]" + (f"[{vanishing}]*+" if vanishing else "")
    if longest is not None and not any(re.fullmatch(f"[{staying}{vanishing}]+", text) for text in added):
        run = f"((?>{one}){{{longest + 1}}})[{staying}{vanishing}]+"
        squeezes.append((re.compile(run), r"\1"))
    if vanishing:
        squeezes.append((re.compile(f"([{vanishing}])[{vanishing}]+"), r"\1"))
    return squeezes


@cache
def _bert_classes() -> tuple[str, str]:
    """Characters that surely stay and do not end a word, and those that surely vanish with the accents.

    Tokenizers carry another version of Unicode than Python; but what is the same in 3.2 and now is so in all.
    """
    staying, marks = [], []
    for character in map(chr, range(0x30, 0xD7A4)):
        old, new = unicodedata.ucd_3_2_0.category(character), unicodedata.category(character)
        if old != new or _CHINESE.match(character):
            continue
        if new == "Mn":
            marks.append(character)
        elif new in _IN_WORDS:
            parts = unicodedata.normalize("NFD", character)
            if unicodedata.category(parts[0]) in _IN_WORDS and not _CHINESE.search(parts):
                staying.append(character)
    return _character_class(staying) + _EMOJI, _character_class(marks)


def _character_class(characters: list[str]) -> str:
    """The inside of a regular expression's [], from characters in ascending order."""
    ranges: list[list[str]] = []
    for character in characters:
        if ranges and ord(character) == ord(ranges[-1][1]) + 1:
            ranges[-1][1] = character
        else:
            ranges.append([character, character])
    return "".join(f"{first}-{last}" for first, last in ranges)
