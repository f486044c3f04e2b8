"""Errors of recognised texts, in words and in characters; jiwer aligns, we count and add up.

Rates are those of a corpus: all errors over all reference words. They are not clipped, so a
recogniser that inserts enough goes beyond 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import jiwer


@dataclass(frozen=True, kw_only=True, slots=True)
class UtteranceScore:
    """One row of the utterances table."""

    id: str
    speaker: str
    seconds: float
    """Of audio."""
    num_ref_words: int
    substitutions: int
    deletions: int
    insertions: int
    hits: int
    num_ref_chars: int
    """Spaces count as characters."""
    char_substitutions: int
    char_deletions: int
    char_insertions: int
    ref: str
    hyp: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """Sums over utterances, and the two rates."""

    wer: float
    """Word errors over reference words, as a fraction."""
    cer: float
    """Character errors over reference characters, as a fraction."""
    substitutions: int
    """Of words, as the next two."""
    deletions: int
    insertions: int
    num_ref_words: int
    num_ref_chars: int
    num_utterances: int


def score(
    ids: Iterable[str],
    refs: Iterable[str],
    hyps: Iterable[str],
    speakers: Iterable[str],
    seconds: Iterable[float],
) -> list[UtteranceScore]:
    """One score per utterance; the arguments run in parallel.

    Texts are normalised (bench.data.text). A reference has at least one word; a hypothesis may be
    empty. White space that a network puts around or doubles between words counts in neither rate.

    Raises:
        ValueError: a reference without a word, or arguments of different lengths.
    """
    rows = zip(ids, refs, hyps, speakers, seconds, strict=True)
    return [_score_one(*row) for row in rows]


def totals(scores: Iterable[UtteranceScore]) -> Totals:
    """The sums and corpus-level rates of `scores`.

    Raises:
        ValueError: no scores; nothing was said, so no rate exists.
    """
    rows = list(scores)
    if not rows:
        raise ValueError("error rates need at least one utterance, got none")
    substitutions = sum(row.substitutions for row in rows)
    deletions = sum(row.deletions for row in rows)
    insertions = sum(row.insertions for row in rows)
    char_errors = sum(
        row.char_substitutions + row.char_deletions + row.char_insertions for row in rows
    )
    num_ref_words = sum(row.num_ref_words for row in rows)
    num_ref_chars = sum(row.num_ref_chars for row in rows)
    return Totals(
        wer=(substitutions + deletions + insertions) / num_ref_words,
        cer=char_errors / num_ref_chars,
        substitutions=substitutions,
        deletions=deletions,
        insertions=insertions,
        num_ref_words=num_ref_words,
        num_ref_chars=num_ref_chars,
        num_utterances=len(rows),
    )


def _score_one(id: str, ref: str, hyp: str, speaker: str, seconds: float) -> UtteranceScore:
    ref, hyp = " ".join(ref.split()), " ".join(hyp.split())
    if not ref:
        raise ValueError(f"a reference has at least one word, that of utterance {id!r} has none")
    words = jiwer.process_words(ref, hyp)
    chars = jiwer.process_characters(ref, hyp)
    return UtteranceScore(
        id=id,
        speaker=speaker,
        seconds=seconds,
        num_ref_words=words.hits + words.substitutions + words.deletions,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        hits=words.hits,
        num_ref_chars=len(ref),
        char_substitutions=chars.substitutions,
        char_deletions=chars.deletions,
        char_insertions=chars.insertions,
        ref=ref,
        hyp=hyp,
    )
