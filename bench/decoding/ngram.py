"""Word n-grams with interpolated modified Kneser-Ney smoothing, and their ARPA files.

Chen & Goodman, An Empirical Study of Smoothing Techniques for Language Modeling, TR-10-98, Harvard
1998, section 4.1. For words w after a context h, with h' the context without its first word:

    p(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + g(h) p(w | h')
    g(h)     = (D1 N1(h) + D2 N2(h) + D3 N3+(h)) / c(h)

c of the highest order, and of what begins with <s>, is the number of occurrences; else it is the
number of different words before (continuation counts). N1, N2 and N3+ are the numbers of words
after h with a count of 1, 2, and 3 or more. The unigrams are interpolated with the uniform
distribution over the vocabulary, which holds </s> and <unk>, not <s>.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.core.parsing import split_lines

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
MARKS = (BEGIN, END, UNKNOWN)
NGRAM_VERSION = 1
"""Raised when `estimate` or `to_arpa` gives another model for some text."""
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where the text is too small for the formula; those of KenLM's --discount_fallback."""
MAX_ORDER = 6
"""As many as the KenLM of common decoders reads."""
_NEVER = -99.0
"""ARPA's logarithm of zero."""

Gram = tuple[str, ...]


@dataclass(frozen=True)
class TextFit:
    """How well a model predicts a text."""

    perplexity: float
    """Per word of the vocabulary and sentence end; unknown words are left out, as SRILM does. NaN
    of an empty text."""
    num_words: int
    num_unknown: int
    """Words of the text that are not in the vocabulary."""

    @property
    def oov(self) -> float:
        """Unknown words as a share of all; NaN of an empty text."""
        return self.num_unknown / self.num_words if self.num_words else math.nan


@dataclass(frozen=True)
class NGram:
    """A back-off model: log10 probabilities of n-grams, log10 back-off weights of contexts."""

    order: int
    log_probs: Mapping[Gram, float]
    backoffs: Mapping[Gram, float]
    """Of contexts that some word has followed; all others weigh 1."""

    @property
    def words(self) -> tuple[str, ...]:
        """The vocabulary without <s>, </s> and <unk>, in the order of the unigrams."""
        return tuple(g[0] for g in self.log_probs if len(g) == 1 and g[0] not in MARKS)

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of n-grams of each order, from unigrams on."""
        sizes = Counter(map(len, self.log_probs))
        return tuple(sizes[length] for length in range(1, self.order + 1))

    def log10(self, word: str, context: Gram) -> float:
        """log10 p(`word` | `context`); an unknown word has the probability of <unk>, minus infinity
        in a model without one."""
        known = tuple(w if (w,) in self.log_probs else UNKNOWN for w in (*context, word))
        gram = known[-self.order :]
        weight = 0.0
        # Back off: drop the first word of the context, and pay its context's weight.
        #
        #     p(c | a b) = weight(a b) weight(b) p(c)      where neither "a b c" nor "b c" was seen
        while gram not in self.log_probs:
            if len(gram) == 1:
                return -math.inf
            weight += self.backoffs.get(gram[:-1], 0.0)
            gram = gram[1:]
        return weight + self.log_probs[gram]

    def fit(self, sentences: Iterable[str]) -> TextFit:
        """Perplexity and unknown words of `sentences`, which are normalised."""
        total, num_scored, num_words, num_unknown = 0.0, 0, 0, 0
        for sentence in sentences:
            history: Gram = (BEGIN,)
            for word in (*sentence.split(), END):
                unknown = (word,) not in self.log_probs
                num_words += word != END
                num_unknown += unknown
                if not unknown:
                    total += self.log10(word, history)
                    num_scored += 1
                history = (*history, word)[-self.order :]
        perplexity = 10 ** (-total / num_scored) if num_scored else math.nan
        return TextFit(perplexity, num_words, num_unknown)


def estimate(sentences: Iterable[str], order: int = 3) -> NGram:
    """The model of `sentences`: words between spaces; <unk> stands for a word to leave unnamed.

    Raises:
        ValueError: no word, or an order outside 1 to MAX_ORDER.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"an n-gram has an order of 1 to {MAX_ORDER}, got {order}; 3 is usual")
    adjusted = _adjusted_counts(sentences, order)
    if not any(word not in MARKS for (word,) in adjusted[0]):
        raise ValueError("a language model needs a text with words, got none; name another text")
    vocabulary = {*adjusted[0], (UNKNOWN,)} - {(BEGIN,)}
    probs: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    uniform = 1 / len(vocabulary)
    for counts in adjusted:
        is_unigram = counts is adjusted[0]
        weights, totals, cuts = _context_weights(counts)
        for gram, count in counts.items():
            context = gram[:-1]
            lower = uniform if is_unigram else probs[gram[1:]]
            own = (count - cuts[min(count, 3)]) / totals[context]
            probs[gram] = own + weights[context] * lower
        if is_unigram:
            # A word that never occurs has its share of the uniform distribution alone.
            probs.setdefault((UNKNOWN,), weights[()] * uniform)
        else:
            backoffs |= {context: math.log10(weight) for context, weight in weights.items()}
    log_probs = {gram: math.log10(p) for gram, p in probs.items()}
    return NGram(order, {(BEGIN,): _NEVER, **log_probs}, backoffs)


def _adjusted_counts(sentences: Iterable[str], order: int) -> list[dict[Gram, int]]:
    """The counts of each order, from unigrams on: of occurrences at the highest order and of what
    begins with <s>, else of different words before. <s> alone predicts nothing and is left out."""
    occurrences: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        padded = (BEGIN, *sentence.split(), END)
        for length, counts in enumerate(occurrences, start=1):
            counts.update(padded[i : i + length] for i in range(len(padded) - length + 1))
    del occurrences[0][(BEGIN,)]
    adjusted: list[dict[Gram, int]] = []
    for counts, longer in pairwise(occurrences):
        # `longer` holds each n-gram once, whatever its count: those that end alike differ in their
        # first word, so counting them counts the different words before.
        #
        #     longer      "the cat" 9, "a cat" 1, "my dog" 4
        #     before      "cat" 2, "dog" 1
        before = Counter(gram[1:] for gram in longer)
        adjusted.append({g: n if g[0] == BEGIN else before[g] for g, n in counts.items()})
    return [*adjusted, dict(occurrences[-1])]


def discounts(counts: Iterable[int]) -> tuple[float, float, float]:
    """D1, D2 and D3+ of one order (Chen & Goodman, equation 26) from its counts.

    FALLBACK_DISCOUNTS where no n-gram has one of the counts 1 to 4, or where a discount would not
    lie between zero and its count.
    """
    sizes = Counter(counts)
    n1, n2, n3, n4 = (sizes[count] for count in range(1, 5))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 < d < count for count, d in enumerate(found, start=1)):
        return FALLBACK_DISCOUNTS
    return found


def _context_weights(
    counts: Mapping[Gram, int],
) -> tuple[dict[Gram, float], dict[Gram, int], tuple[float, float, float, float]]:
    """g(h) and c(h) of each context of one order; and the discounts by count, from 0 on."""
    cuts = (0.0, *discounts(counts.values()))
    totals: dict[Gram, int] = defaultdict(int)
    removed: dict[Gram, float] = defaultdict(float)
    for gram, count in counts.items():
        totals[gram[:-1]] += count
        removed[gram[:-1]] += cuts[min(count, 3)]
    return {h: removed[h] / total for h, total in totals.items()}, totals, cuts


def to_arpa(model: NGram) -> Iterator[str]:
    """The lines of `model` as an ARPA file, line ends included."""
    yield "\\data\\\n"
    yield from (f"ngram {n}={count}\n" for n, count in enumerate(model.counts, start=1))
    for length in range(1, model.order + 1):
        yield f"\n\\{length}-grams:\n"
        for gram, value in model.log_probs.items():
            if len(gram) != length:
                continue
            # The highest order has no back-off; elsewhere readers want that of each context.
            has_weight = length < model.order and gram[-1] != END
            weight = f"\t{model.backoffs.get(gram, 0.0):.7f}" if has_weight else ""
            yield f"{value:.7f}\t{' '.join(gram)}{weight}\n"
    yield "\n\\end\\\n"


def from_arpa(text: str) -> NGram:
    """The model that `text`, an ARPA file, holds.

    Raises:
        ValueError: it is none; names the line.
    """
    lines = ((number, line.strip()) for number, line in enumerate(split_lines(text), start=1))
    content = ((number, line) for number, line in lines if line)
    # This reads up to that line, and the loop below goes on behind it.
    if not any(line == "\\data\\" for _, line in content):
        raise ValueError("it has no \\data\\ line")
    claimed: list[int] = []
    section = 0
    log_probs: dict[Gram, float] = {}
    backoffs: dict[Gram, float] = {}
    for number, line in content:
        if line == "\\end\\":
            break
        if line.startswith("ngram ") and not section:
            claimed.append(_claimed(line, number, len(claimed) + 1))
        elif line.startswith("\\"):
            section += 1
            if line != f"\\{section}-grams:" or section > len(claimed):
                raise ValueError(f"line {number} should begin section {section}, got {line[:40]!r}")
        else:
            gram, value, weight = _entry(line, number, section)
            if gram in log_probs:
                raise ValueError(f"line {number} has an n-gram again: {line[:40]!r}")
            if section > 1 and not all((word,) in log_probs for word in gram):
                raise ValueError(f"line {number} has a word that is no 1-gram: {line[:40]!r}")
            log_probs[gram] = value
            if weight is not None:
                backoffs[gram] = weight
    else:
        raise ValueError("it has no \\end\\ line: the file is not complete")
    model = NGram(len(claimed), log_probs, backoffs)
    if not claimed or model.counts != tuple(claimed):
        raise ValueError(f"it claims {claimed} n-grams by order and holds {list(model.counts)}")
    return model


def _claimed(line: str, number: int, order: int) -> int:
    length, _, count = line.removeprefix("ngram ").partition("=")
    if length.strip() != str(order) or not count.strip().isdecimal():
        raise ValueError(f"line {number} should read ngram {order}=COUNT, got {line[:40]!r}")
    return int(count)


def _entry(line: str, number: int, length: int) -> tuple[Gram, float, float | None]:
    """The n-gram of a line, its log10 probability, and its back-off weight if it has one."""
    fields: Sequence[str] = line.split()
    try:
        value = float(fields[0])
        weight = float(fields[length + 1]) if len(fields) == length + 2 else None
    except ValueError as error:
        raise ValueError(f"line {number} has no number where one belongs: {line[:40]!r}") from error
    # Not "value > 0", which NaN is not.
    if length == 0 or len(fields) not in (length + 1, length + 2) or not value <= 0:
        raise ValueError(f"line {number} is no {length}-gram with its logarithm: {line[:40]!r}")
    if weight is not None and not math.isfinite(weight):
        raise ValueError(f"line {number} has a back-off weight of {weight}: {line[:40]!r}")
    return tuple(fields[1 : length + 1]), value, weight
