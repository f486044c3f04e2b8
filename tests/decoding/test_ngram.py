"""The n-gram against the formulas, computed from the text without its tables."""

import math
import random
from functools import cache

import pytest

from bench.decoding.ngram import (
    BEGIN,
    END,
    FALLBACK_DISCOUNTS,
    UNKNOWN,
    Gram,
    discounts,
    estimate,
    from_arpa,
    to_arpa,
)

SMALL = ("a b", "a b c", "b a", "c", "a b a b")


def random_text(num_sentences: int, num_words: int, seed: int) -> list[str]:
    """Words of Zipf's law, so that all counts from 1 to 4 occur."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(num_words)]
    weights = [1 / (i + 1) for i in range(num_words)]
    lengths = (rng.randrange(1, 9) for _ in range(num_sentences))
    return [" ".join(rng.choices(words, weights, k=length)) for length in lengths]


class Reference:
    """Chen & Goodman's recursion, each count found by going through the whole text."""

    def __init__(self, text: list[str], order: int) -> None:
        self.padded = [(BEGIN, *line.split(), END) for line in text]
        self.order = order
        self.words = sorted({w for line in self.padded for w in line} - {BEGIN})
        self.count = cache(self._count)
        self.cuts = cache(self._cuts)

    def grams(self, length: int) -> list[Gram]:
        return [p[i : i + length] for p in self.padded for i in range(len(p) - length + 1)]

    def _count(self, gram: Gram) -> int:
        if len(gram) == self.order or gram[0] == BEGIN:
            return self.grams(len(gram)).count(gram)
        return len({longer[0] for longer in self.grams(len(gram) + 1) if longer[1:] == gram})

    def _cuts(self, length: int) -> tuple[float, float, float]:
        counts = [self.count(g) for g in {*self.grams(length)} - {(BEGIN,)}]
        n = [0, *(counts.count(k) for k in (1, 2, 3, 4))]
        y = n[1] / (n[1] + 2 * n[2])
        cuts = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        return (
            cuts
            if all(0 < cut < place + 1 for place, cut in enumerate(cuts))
            else FALLBACK_DISCOUNTS
        )

    def p(self, word: str, context: Gram) -> float:
        after = [self.count((*context, w)) for w in self.words]
        lower = self.p(word, context[1:]) if context else 1 / (len(self.words) + 1)
        if not any(after):
            return lower
        cuts = self.cuts(len(context) + 1)
        removed = sum(cuts[min(c, 3) - 1] for c in after if c)
        own = self.count((*context, word))
        rest = max(own - cuts[min(own, 3) - 1], 0) if own else 0
        return (rest + removed * lower) / sum(after)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_are_those_of_the_recursion(order: int) -> None:
    text = random_text(60, 30, seed=order)
    model, reference = estimate(text, order), Reference(text, order)
    rng = random.Random(0)
    for _ in range(150):
        line = (BEGIN, *rng.choice(text).split(), END)
        end = rng.randrange(1, len(line))
        context = line[max(0, end - order + 1) : end] if rng.random() < 0.7 else ("w3", "w7")
        context = context[: order - 1]
        for word in (line[end], UNKNOWN, rng.choice(reference.words)):
            expected = reference.p(word, context)
            assert 10 ** model.log10(word, context) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("text", [SMALL, random_text(80, 25, seed=9)])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_sums_to_one_after_every_context(text: list[str], order: int) -> None:
    model = estimate(text, order)
    words = (*model.words, END, UNKNOWN)
    contexts = {gram[:-1] for gram in model.log_probs} | {("b", "zzz"), ("a", "a"), (BEGIN, "b")}
    for context in contexts:
        assert math.fsum(10 ** model.log10(w, context) for w in words) == pytest.approx(1)


def test_discounts_are_the_published_ones() -> None:
    # n1 = 10, n2 = 4, n3 = 2, n4 = 1: Y = 10/18, equation 26 of Chen & Goodman by hand.
    counts = [1] * 10 + [2] * 4 + [3] * 2 + [4] + [9] * 3
    y = 10 / 18
    expected = (1 - 2 * y * 4 / 10, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2)
    assert discounts(counts) == pytest.approx(expected)
    assert discounts([1, 1, 2, 7]) == FALLBACK_DISCOUNTS
    # All counts occur, and D2 = 2 - 3 Y n3 / n2 would be below zero.
    assert discounts([1] * 9 + [2] + [3] * 9 + [4]) == FALLBACK_DISCOUNTS


def test_an_arpa_file_holds_the_same_model() -> None:
    text = random_text(60, 30, seed=1)
    model = estimate(text)
    again = from_arpa("".join(to_arpa(model)))
    assert again.counts == model.counts
    assert again.words == model.words
    for gram in [*model.log_probs, ("w1", "w2", "zzz"), ("w9", "w9", "w1")]:
        own, read = model.log10(gram[-1], gram[:-1]), again.log10(gram[-1], gram[:-1])
        assert read == pytest.approx(own, abs=1e-6)
    assert again.fit(text).perplexity == pytest.approx(model.fit(text).perplexity, rel=1e-5)


def test_kenlm_reads_it_with_the_same_probabilities(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    text = random_text(60, 30, seed=2)
    model = estimate(text)
    path = tmp_path / "model.arpa"
    path.write_text("".join(to_arpa(model)))
    words = (*model.words, UNKNOWN)
    kenlm = KenLM(str(path), Dictionary(list(words)))
    for line in (*text[:20], "w1 w29 zzz w1", ""):
        history: Gram = (BEGIN,)
        state = kenlm.start(False)
        for word in line.split():
            named = word if word in words else UNKNOWN
            state, score = kenlm.score(state, words.index(named))
            assert score == pytest.approx(model.log10(word, history), abs=1e-5)
            history = (*history, word)
        assert kenlm.finish(state)[1] == pytest.approx(model.log10(END, history), abs=1e-5)


def test_perplexity_leaves_unknown_words_out_and_counts_them() -> None:
    model = estimate(SMALL, 2)
    fit = model.fit(["a zzz b", "b"])
    terms = [("a", (BEGIN,)), ("b", ("zzz",)), (END, ("b",)), ("b", (BEGIN,)), (END, ("b",))]
    logs = [model.log10(word, context) for word, context in terms]
    assert fit.perplexity == pytest.approx(10 ** (-sum(logs) / 5))
    assert (fit.num_words, fit.num_unknown, fit.oov) == (4, 1, 0.25)
    assert math.isnan(model.fit([]).perplexity)


def test_an_unnamed_word_gives_the_unknown_its_share() -> None:
    named, unnamed = estimate(SMALL, 2), estimate([*SMALL, "<unk> b", "<unk>"], 2)
    assert unnamed.log10("zzz", (BEGIN,)) > named.log10("zzz", (BEGIN,))
    assert UNKNOWN not in unnamed.words


@pytest.mark.parametrize("text", [[], ["", " "]])
def test_a_text_without_words_is_refused(text: list[str]) -> None:
    with pytest.raises(ValueError, match="a text with words"):
        estimate(text)


GOOD = "".join(to_arpa(estimate(SMALL, 2)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no \\\\data"),
        ("hello there", "no \\\\data"),
        (GOOD.replace("\\end\\", ""), "no \\\\end"),
        (GOOD.replace("ngram 2=", "ngram 3="), "line 3"),
        (GOOD.replace("ngram 2=", "ngram 2=9"), "claims"),
        (GOOD.replace("\\2-grams:", "\\7-grams:"), "section 2"),
        (GOOD.replace("\ta", "\ta b c d", 1), "no number|no 1-gram"),
        (GOOD.replace("-99.0000000", "nan"), "no 1-gram"),
        (GOOD.replace("-99.0000000", "xx"), "no number"),
        ("\\data\\\n\\end\\\n", "claims"),
        (GOOD.replace("\ta b\n", "\ta zebra\n"), "line 15 has a word that is no 1-gram"),
        (GOOD.replace("\ta b\n", "\ta b\n-1\ta b\n"), "line 16 has an n-gram again"),
    ],
)
def test_what_is_no_arpa_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        from_arpa(text)
