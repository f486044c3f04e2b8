import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data import text
from bench.data.text import (
    count_unknown_symbols,
    normalize,
    unknown_symbols,
)


@pytest.mark.parametrize(
    ("given_text", "normal"),
    [
        ("HELLO World", "hello world"),
        ("don’t, can‘t, won`t, it´s, 'ＯＫ'", "don't can't won't it's ok"),
        ("it′s o‛clock, rock ＇n＇ roll, Hawaiʻi", "it's o'clock rock n roll hawai'i"),
        ("goin’ the dogs' 'cause goin'. dogs',", "goin the dogs cause goin dogs"),
        ("‘hello’ 'hello' ''hello'' ‚hello‘ ‹hello› ('hello", "hello " * 5 + "(hello"),
        ("«bonjour» »hallo« „hallo“ ”hej” 「やあ」 〝x〞 ＂y＂", "bonjour hallo hallo hej やあ x y"),
        ("zero\u200bwidth co\u00adoperate \ufeffbom \u202aleft\u202c \u2066right\u2069 a\u2060b", "zerowidth cooperate bom left right ab"),
        ("no\u00a0break\u3000ideo\u2028line\u202fnarrow\u2009thin", "no break ideo line narrow thin"),
        ("ＦＵＬＬ　ｗｉｄｔｈ，ｙｅｓ！", "full width yes"),
        ("one–two—three‐four−five wait…what ¿qué? ¡no！ 是。好、", "one two three four five wait what qué no 是 好"),
        ("well-known—and so–on: yes… “no”; why?!", "well known and so on yes no why"),
        (" \t two\n  words\u00a0here ", "two words here"),
        ("ﬁne", "fine"),
        ("- . , ? ! ; : \"", ""),
    ],
)  # fmt: skip
def test_normalize(given_text: str, normal: str) -> None:
    assert normalize(given_text) == normal
    assert set(unknown_symbols(normal)) <= set("(éやあ是好")


def test_accents_and_digits_are_kept_and_unknown() -> None:
    assert normalize("Café 42") == normalize("Cafe\u0301 42") == "café 42"
    assert unknown_symbols("café 42") == "24é"


@pytest.mark.parametrize("kept", ["(maybe) later", "[noise] go on", "either/or", "a_b", "50 %"])
def test_ambiguous_symbols_stay_and_are_counted(kept: str) -> None:
    assert normalize(kept) == kept
    assert unknown_symbols(kept)
    assert count_unknown_symbols([kept, kept])[unknown_symbols(kept)[0]] >= 2


@pytest.mark.parametrize("category", ["Cf", "Pi", "Pf", "Pd"])
def test_no_symbol_of_the_category_survives_at_a_words_edge(category: str) -> None:
    for code in range(0x110000):
        if unicodedata.category(chr(code)) == category:
            assert normalize(f"{chr(code)}word{chr(code)}") == "word", hex(code)


@given(st.text())
def test_normalize_is_idempotent_and_leaves_no_loose_space(given_text: str) -> None:
    once = normalize(given_text)
    assert normalize(once) == once
    assert once == once.strip()
    assert not re.search(r"\s\s", once)


@given(st.sampled_from([chr(c) for c in range(0x110000) if unicodedata.category(chr(c))[0] == "L"]))
def test_normalize_is_idempotent_for_letters(letter: str) -> None:
    assert normalize(normalize(letter)) == normalize(letter)


def test_digest_names_alphabet_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = text.text_digest()
    monkeypatch.setattr(text, "TEXT_VERSION", "another")
    assert text.text_digest() != before
