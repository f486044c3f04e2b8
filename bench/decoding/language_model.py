"""The language model of a decoder: estimated from transcripts or read from a file, then cached.

A model's folder in the cache has the digest of all that it was made from as its name, so that it is
made once and never out of date.
"""

import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from bench.core.config import digest
from bench.core.errors import UserError
from bench.core.files import atomic_write, write_json
from bench.core.parsing import split_lines
from bench.core.paths import cache_folder, made_once, read_text
from bench.data.text import normalize, unknown_symbols
from bench.decoding.ngram import (
    BEGIN,
    END,
    MAX_ORDER,
    NGRAM_VERSION,
    UNKNOWN,
    NGram,
    estimate,
    from_arpa,
    to_arpa,
)

LETTER_ORDER = 6
"""Of the model over letters that a search without a lexicon uses."""
MIN_ORDER = 2
"""KenLM, which the search asks, reads no model of single words."""
MODEL_FILE, FACTS_FILE = "model.arpa", "facts.json"
SPACE_LETTER = "|"
"""The space as a word of the model over letters."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LmConfig:
    """Where the words of a language model come from."""

    order: int = 3
    """Number of words of an n-gram; letters have LETTER_ORDER."""
    texts: tuple[Path, ...] = ()
    """Files with a sentence a line, in addition to the training transcripts."""
    arpa: Path | None = None
    """A finished model, instead of an estimate."""
    lexicon: bool = True
    """Only words of the model can come out. Else the model is over letters (Likhomanenko et al.,
    Who Needs Words? Lexicon-Free Speech Recognition, 2019), and any word can."""

    def __post_init__(self) -> None:
        """Check what the flags do not."""
        if not MIN_ORDER <= self.order <= MAX_ORDER:
            raise ValueError(
                f"the search reads n-grams of order {MIN_ORDER} to {MAX_ORDER}, got {self.order}"
            )
        if self.arpa is not None and self.texts:
            raise ValueError("a model from --lm takes no further --lm-text; name one of the two")
        if self.arpa is not None and not self.lexicon:
            raise ValueError("--lm is a model of words, --open-vocabulary one of letters; drop one")


@dataclass(frozen=True, kw_only=True)
class LmFacts:
    """What is recorded of a language model."""

    digest: str
    """Of the ARPA file's content."""
    source: str
    unit: str
    """"word" or "letter"."""
    order: int
    num_ngrams: tuple[int, ...]
    """By order, from unigrams on."""
    perplexity: float | None
    """On valid, per unit and sentence end, without unknown words; None: valid has no known word."""
    oov: float | None
    """Share of valid's words that are unknown; None of an empty valid."""

    def sentence(self) -> str:
        """One line for people."""
        shown = "unknown" if self.perplexity is None else f"{self.perplexity:.1f}"
        missing = "unknown" if self.oov is None else f"{100 * self.oov:.2f} %"
        counts = " + ".join(f"{count:,}" for count in self.num_ngrams)
        return (
            f"{self.unit} {self.order}-gram of {self.source}: {counts} n-grams, on valid "
            f"perplexity {shown}, {missing} of the {self.unit}s unknown"
        )


@dataclass(frozen=True)
class LanguageModel:
    """A language model on disk, as decoders read it."""

    path: Path
    """An ARPA file."""
    facts: LmFacts
    config: LmConfig = LmConfig()
    """What it was made for."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its vocabulary without marks, of what the alphabet can spell."""
        words = from_arpa(self.path.read_text(encoding="utf-8")).words
        return tuple(w for w in words if self.facts.unit == "letter" or not unknown_symbols(w))


def language_model(
    config: LmConfig, train_texts: Iterable[str], valid_texts: Iterable[str]
) -> LanguageModel:
    """The model that `config` describes, from the cache if it is there; logs its facts.

    Args:
        config: where its words come from.
        train_texts: normalised training transcripts; not used with ``config.arpa``.
        valid_texts: normalised; for perplexity only.

    Raises:
        UserError: a file cannot be read, is no ARPA, or is of other symbols; there is no word.
        UnwritableError: the cache cannot be written.
    """
    valid = tuple(valid_texts)
    given = None if config.arpa is None else read_text(config.arpa, "language model")
    sentences = () if given is not None else (*train_texts, *_sentences(config.texts))
    # All that the files hang on; valid too, whose perplexity is among the facts.
    what = [NGRAM_VERSION, config.order, config.lexicon, given, sentences, valid, _source(config)]

    def make(folder: Path) -> None:
        if config.arpa is not None and given is not None:
            model = _read(config.arpa, given)
        else:
            model = _estimate(config, sentences)
        _write(model, config, valid, folder)

    folder = made_once(cache_folder("lm") / digest(what), make)
    stored = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    facts = LmFacts(**{**stored, "num_ngrams": tuple(stored["num_ngrams"])})
    _logger.info("language model: %s (%s)", facts.sentence(), facts.digest[:8])
    return LanguageModel(folder / MODEL_FILE, facts, config)


def as_letters(sentence: str) -> str:
    """`sentence` as a sentence of letters, SPACE_LETTER after each word."""
    return " ".join(letter for word in sentence.split() for letter in (*word, SPACE_LETTER))


def _source(config: LmConfig) -> str:
    if config.arpa is not None:
        return config.arpa.name
    return " and ".join(["the training transcripts", *(path.name for path in config.texts)])


def _sentences(paths: Sequence[Path]) -> Iterable[str]:
    for path in paths:
        lines = (normalize(line) for line in split_lines(read_text(path, "text")))
        found = [line for line in lines if line]
        if not found:
            raise UserError(f"--lm-text needs a file with words, {path} has none; name another")
        yield from found


def _estimate(config: LmConfig, sentences: Sequence[str]) -> NGram:
    # What the network cannot write is left unnamed, and its neighbours still count.
    spelled = (
        " ".join(UNKNOWN if unknown_symbols(word) else word for word in sentence.split())
        for sentence in sentences
    )
    try:
        if config.lexicon:
            return estimate(spelled, config.order)
        return estimate((as_letters(s.replace(UNKNOWN, "")) for s in spelled), LETTER_ORDER)
    except ValueError as error:
        raise UserError(str(error)) from error


def _read(path: Path, text: str) -> NGram:
    try:
        model = from_arpa(text)
    except ValueError as error:
        raise UserError(
            f"--lm reads an n-gram in ARPA format, {path} is none: {error}; name another file"
        ) from error
    strange = [word for word in model.words if unknown_symbols(word)]
    # Half or more: another alphabet or case, not a few foreign words.
    if 2 * len(strange) >= len(model.words):
        shown = f", such as {strange[0]!r}" if strange else ""
        raise UserError(
            f"the words of a language model are spelled with ' and a to z, {len(strange)} of the "
            f"{len(model.words)} of {path} are not{shown}; name another, or convert it"
        )
    if strange:
        _logger.warning("%s: %d words have other symbols and cannot come out", path, len(strange))
    lacking = [mark for mark in (BEGIN, END) if (mark,) not in model.log_probs]
    if not MIN_ORDER <= model.order <= MAX_ORDER or lacking:
        raise UserError(
            f"a language model has an order of {MIN_ORDER} to {MAX_ORDER} and the words {BEGIN} "
            f"and {END}, {path} has order {model.order}"
            f"{''.join(f' and no {mark}' for mark in lacking)}; name another"
        )
    return model


def _write(model: NGram, config: LmConfig, valid: Sequence[str], folder: Path) -> None:
    path = folder / MODEL_FILE
    with atomic_write(path) as handle:
        handle.writelines(line.encode() for line in to_arpa(model))
    fit = model.fit(valid if config.lexicon else map(as_letters, valid))
    facts = LmFacts(
        digest=digest(path.read_text(encoding="utf-8")),
        source=_source(config),
        unit="word" if config.lexicon else "letter",
        order=model.order,
        num_ngrams=model.counts,
        perplexity=None if math.isnan(fit.perplexity) else fit.perplexity,
        oov=None if math.isnan(fit.oov) else fit.oov,
    )
    write_json(folder / FACTS_FILE, asdict(facts))
