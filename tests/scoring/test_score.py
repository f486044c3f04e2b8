import re
from dataclasses import asdict
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scoring import UtteranceScore, score, totals

GOLDEN = Path(__file__).resolve().parents[1] / "golden"

# Deepgram's post: transcripts while Kur's model learned, with their error rates in percent.
POST = [
    (
        "these vast buildings what were they",
        "he s ma tol ln wt r hett jzxzjxzjqzjqjxzq",
        150.0,
        97.14,
    ),
    (
        "the valkyrie kept off the coast steering to the westward",
        "the bak gerly cap dof the cost stkuarinte the west werd",
        90.0,
        37.5,
    ),
    ("it was a theatre ready made", "it was it theater readi made", 50.0, 18.52),
    ("i am a human saying human things", "i am a human saying human things", 0.0, 0.0),
]  # fmt: skip


def read_trn(name: str) -> dict[str, str]:
    lines = (GOLDEN / name).read_text().splitlines()
    found = [re.fullmatch(r"(.*) \((.+)\)", line) for line in lines]
    return {match[2]: match[1] for match in found if match}


def score_pairs(*pairs: tuple[str, str]) -> list[UtteranceScore]:
    count = len(pairs)
    refs, hyps = zip(*pairs, strict=True)
    return score([f"u{i}" for i in range(count)], refs, hyps, ["s"] * count, [1.0] * count)


@pytest.mark.parametrize(
    ("system", "errors"), [("a.trn", 131), ("b.trn", 180), ("c.trn", 256)]
)  # fmt: skip
def test_counts_what_sclite_counts(system: str, errors: int) -> None:
    refs, hyps = read_trn("ref.trn"), read_trn(system)
    speakers = [id.partition("-")[0] for id in refs]
    rows = score(refs, refs.values(), [hyps[id] for id in refs], speakers, [1.0] * len(refs))
    found = totals(rows)
    assert found.substitutions + found.deletions + found.insertions == errors
    assert (found.num_ref_words, found.num_utterances) == (1150, 80)
    assert found.wer == errors / 1150
    assert len({row.speaker for row in rows}) == 8
    assert sum(row.hits for row in rows) == 1150 - found.substitutions - found.deletions


@pytest.mark.parametrize(("ref", "hyp", "wer", "cer"), POST)
def test_the_four_transcripts_of_the_post(ref: str, hyp: str, wer: float, cer: float) -> None:
    found = totals(score_pairs((ref, hyp)))
    assert round(100 * found.wer, 2) == wer
    assert round(100 * found.cer, 2) == cer


def test_one_row_says_what_happened() -> None:
    (row,) = score(["x"], ["a bad cab bed"], ["bad cat bed dad"], ["ann"], [0.7])
    assert asdict(row) == {
        "id": "x", "speaker": "ann", "seconds": 0.7, "num_ref_words": 4, "substitutions": 1,
        "deletions": 1, "insertions": 1, "hits": 2, "num_ref_chars": 13, "char_substitutions": 1,
        "char_deletions": 2, "char_insertions": 4, "ref": "a bad cab bed", "hyp": "bad cat bed dad",
    }  # fmt: skip


def test_silence_is_all_deletions_and_babble_goes_beyond_one() -> None:
    silent, babble = score_pairs(("bad cab", ""), ("bad", "a bad cab a bad cab"))
    assert (silent.deletions, silent.char_deletions, silent.hits) == (2, 7, 0)
    assert totals([silent]).wer == totals([silent]).cer == 1
    assert totals([babble]).wer == 5


def test_rates_are_those_of_the_corpus_not_means_over_utterances() -> None:
    rows = score_pairs(("bad", "cab"), ("a bad cab", "a bad cab"))
    assert totals(rows).wer == 1 / 4
    assert totals(rows).cer == 2 / 12


def test_white_space_around_words_is_no_error() -> None:
    found = totals(score_pairs(("bad cab", "  bad   cab ")))
    assert found.wer == found.cer == 0


def test_words_with_an_empty_reference_are_insertions() -> None:
    rows = score_pairs(("", "thank you"), ("open the door", "open the door"), (" ", ""))
    assert [(row.num_ref_words, row.insertions) for row in rows] == [(0, 2), (3, 0), (0, 0)]
    assert totals(rows).wer == 2 / 3


def test_references_and_hypotheses_are_normalised_by_one_rule() -> None:
    rows = score_pairs(("the dogs bowls", "the dogs' bowls"), ("goin’ on", "Goin on."))
    assert totals(rows).wer == totals(rows).cer == 0


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_counts_what_jiwer_counts(ref: list[str], hyp: list[str]) -> None:
    (row,) = score_pairs((" ".join(ref), " ".join(hyp)))
    found = jiwer.process_words(row.ref, row.hyp)
    counted = (row.hits, row.substitutions, row.deletions, row.insertions)
    assert counted == (found.hits, found.substitutions, found.deletions, found.insertions)


def test_refuses_what_has_no_rate() -> None:
    with pytest.raises(ValueError, match="a reference word, got none in 1 utterances"):
        totals(score_pairs((" ", "bad")))
    with pytest.raises(ValueError, match="a reference word, got none in 0 utterances"):
        totals([])
    with pytest.raises(ValueError, match="shorter"):
        score(["a", "b"], ["bad", "cab"], ["bad"], ["s", "s"], [1.0, 1.0])
