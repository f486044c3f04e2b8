"""The segments by hand, and every digit that NIST's sc_stats prints."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.results.counts import error_slots
from bench.results.pairs import SystemRuns
from bench.stats.mapsswe import Mapsswe, mapsswe

# sc_stats -v prints "(# segs: 183) … (mean: -0.268) (std dev: 1.181) (Z Stat: -3.067)".
SC_STATS = {
    ("a", "b"): "183 -0.268 1.181 -3.067",
    ("a", "c"): "193 -0.648 1.186 -7.587",
    ("b", "c"): "208 -0.365 1.236 -4.263",
}
P = {("a", "b"): 0.002163, ("a", "c"): 3.3e-14, ("b", "c"): 2.01e-05}


@pytest.mark.parametrize("pair", SC_STATS)
def test_every_printed_digit_of_sc_stats(
    sclite: tuple[np.ndarray, dict[str, np.ndarray]], pair: tuple[str, str]
) -> None:
    words, slots = sclite
    found = mapsswe(slots[pair[0]], slots[pair[1]], words)
    printed = f"{found.segments} {found.mean:.3f} {found.sd:.3f} {found.z:.3f}"
    assert printed == SC_STATS[pair]
    assert found.p == pytest.approx(P[pair], rel=0.01)


def test_with_jiwers_alignments_a_segment_or_two_may_move(golden: list[SystemRuns]) -> None:
    frames = {o.name: o.runs[0] for o in golden}
    words = frames["a"]["num_ref_words"].to_numpy()
    slots = {name: error_slots(list(f["ref"]), list(f["hyp"])) for name, f in frames.items()}
    for a, b in combinations("abc", 2):
        found = mapsswe(slots[a], slots[b], words)
        segments, mean, sd, z = map(float, SC_STATS[a, b].split())
        assert found.segments == pytest.approx(segments, rel=0.02)
        assert (found.mean, found.sd, found.z) == pytest.approx((mean, sd, z), rel=0.02)
        errors = [
            frames[s][["substitutions", "deletions", "insertions"]].sum().sum() for s in (a, b)
        ]
        assert found.mean * found.segments == pytest.approx(errors[0] - errors[1])


def test_slots_of_each_kind_of_error() -> None:
    assert error_slots(["a b c"], ["a x c"]).tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert error_slots(["a b c"], ["c"]).tolist() == [0, 1, 0, 1, 0, 0, 0]
    assert error_slots(["a b"], ["x y a b z"]).tolist() == [2, 0, 0, 0, 1]
    assert error_slots(["a", "b"], ["", "b"]).tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("hyp_a", "hyp_b", "differences"),
    [
        ("a b c d e f", "a b c d e f", []),
        ("x b c d e f", "a b c d e f", [1]),
        ("x b c y e f", "a b c d e f", [1, 1]),  # two right words part them
        ("x b y d e f", "a b c d e f", [2]),  # one does not
        ("x b c y e f", "a z c d e f", [1]),  # nor if the other system errs there: 2 - 1
        ("a b x c d e f", "y b c d e f", [0]),  # an insertion is an error: -1 + 1 in one segment
        ("x b x c d e f", "a b c d e f", [2]),  # and breaks a row of right words
        ("a b c d e f x", "a b c d e f", [1]),  # after the last word too
        ("a b c d e f", "a b c d e f x", [-1]),
        ("", "a b c d e f", [6]),
    ],
)
def test_segments(hyp_a: str, hyp_b: str, differences: list[int]) -> None:
    ref = "a b c d e f"
    found = mapsswe(error_slots([ref], [hyp_a]), error_slots([ref], [hyp_b]), np.array([6]))
    assert found.segments == len(differences)
    assert found.mean == pytest.approx(np.mean(differences) if differences else 0.0)


def test_an_utterance_ends_a_segment() -> None:
    refs, words = ["a b", "c d"], np.array([2, 2])
    found = mapsswe(error_slots(refs, ["a x", "y d"]), error_slots(refs, refs), words)
    assert (found.segments, found.mean) == (2, 1.0)


@pytest.mark.parametrize(("size", "known"), [(1, False), (5, False), (0, True)])
def test_segments_that_all_differ_alike_give_an_unknown_p(size: int, known: bool) -> None:
    refs = ["a b"] * max(1, size)
    found = mapsswe(
        error_slots(refs, ["a x" if size else "a b"] * len(refs)),
        error_slots(refs, refs),
        np.full(len(refs), 2),
    )
    assert (found.segments, found.mean) == (size, float(bool(size)))
    assert np.isnan([found.z, found.p]).any() != known
    if known:
        assert found == Mapsswe(0, 0.0, 0.0, 0.0, 1.0)


def test_errors_in_balance_are_no_difference() -> None:
    slots = error_slots(["a b"], ["a x"])
    assert mapsswe(slots, slots, np.array([2])).p == 1


def by_states(marks: list[tuple[int, int]]) -> list[int]:
    """The segments of one utterance from a walk over its slots, one at a time."""
    found, right, inside = [], 0, False
    for place, (a, b) in enumerate(marks):
        if a + b:
            if not inside:
                found.append(0)
            found[-1] += a - b
            inside, right = True, 0
        elif place % 2:
            right += 1
            inside = inside and right < 2
    return found


slot = st.tuples(st.sampled_from([0, 0, 0, 1]), st.sampled_from([0, 0, 0, 1]))


@given(st.lists(st.integers(0, 6).flatmap(lambda w: st.lists(slot, min_size=2 * w + 1, max_size=2 * w + 1)), min_size=1, max_size=5))  # fmt: skip
def test_any_slots_agree_with_the_walk(utterances: list[list[tuple[int, int]]]) -> None:
    slots = np.array([marks for utterance in utterances for marks in utterance])
    words = np.array([len(utterance) // 2 for utterance in utterances])
    found = mapsswe(slots[:, 0], slots[:, 1], words)
    expected = [d for utterance in utterances for d in by_states(utterance)]
    assert found.segments == len(expected)
    assert found.mean == pytest.approx(np.mean(expected) if expected else 0.0)
