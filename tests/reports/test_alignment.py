import itertools
import random

import jiwer
import pytest

from reports.alignment import Step, align, num_errors

KNOWN = [
    ("a b c", "a b c", "match match match"),
    ("a b c", "a x c", "match substitution match"),
    ("a b c", "a c", "match deletion match"),
    ("a c", "a b c", "match insertion match"),
    ("a b", "", "deletion deletion"),
    ("", "a", "insertion"),
    ("", "", ""),
    ("the cat sat", "cat sat down", "deletion match match insertion"),
    ("b b", "b", "match deletion"),
]


@pytest.mark.parametrize(("ref", "hyp", "operations"), KNOWN)
def test_known_alignments(ref: str, hyp: str, operations: str) -> None:
    steps = align(ref.split(), hyp.split())
    assert " ".join(step.operation for step in steps) == operations


def test_words_stand_in_their_steps() -> None:
    assert align(["we", "eat", "well"], ["so", "we", "ate", "well"]) == [
        Step("insertion", "", "so"),
        Step("match", "we", "we"),
        Step("substitution", "eat", "ate"),
        Step("match", "well", "well"),
    ]


def test_as_many_errors_as_jiwer_and_nothing_lost() -> None:
    rng = random.Random(1)
    for num_words, _ in itertools.product(range(1, 9), range(12)):
        ref = [rng.choice("abc") for _ in range(num_words)]
        hyp = [rng.choice("abc") for _ in range(rng.randrange(9))]
        steps = align(ref, hyp)
        assert [s.ref for s in steps if s.operation != "insertion"] == ref
        assert [s.hyp for s in steps if s.operation != "deletion"] == hyp
        assert num_errors(steps) == pytest.approx(
            jiwer.wer(" ".join(ref), " ".join(hyp)) * num_words
        )
