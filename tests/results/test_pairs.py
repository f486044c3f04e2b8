"""Tables of systems and pairs: the golden systems, and runs with planted differences."""

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import UserError
from bench.results.pairs import (
    PAIR_COLUMNS,
    SYSTEM_COLUMNS,
    SystemRuns,
    assumptions,
    compare_pairs,
    nothing_recognised,
    rank_over_speakers,
    summarise,
)

WORDS = 8


def made(name: str, rates: list[float], seed: int = 0, num_speakers: int = 12) -> SystemRuns:
    """Runs with substitutions at the given rate per seed; ids and speakers always the same."""
    rng = np.random.default_rng(seed)
    runs = []
    for rate in rates:
        wrong = rng.random((num_speakers * 10, WORDS)) < rate
        rows = [
            {
                "id": f"u{u:03d}", "speaker": f"s{u // 10}", "num_ref_words": WORDS,
                "substitutions": int(row.sum()), "deletions": 0, "insertions": 0,
                "ref": "word " * WORDS, "hyp": " ".join("x" if w else "word" for w in row),
            }
            for u, row in enumerate(wrong)
        ]  # fmt: skip
        runs.append(pd.DataFrame(rows))
    return SystemRuns(name=name, runs=tuple(runs))


def test_golden_systems(golden: list[SystemRuns]) -> None:
    found = summarise(golden, np.random.default_rng(0))
    assert tuple(found.columns) == SYSTEM_COLUMNS
    assert found["name"].tolist() == ["a", "b", "c"]
    assert found["errors"].tolist() == [131, 180, 256]
    assert found["num_ref_words"].tolist() == [1150] * 3
    assert found["wer"].tolist() == pytest.approx([0.113913, 0.156522, 0.222609], abs=5e-7)
    assert found["se_utterances"].tolist() == pytest.approx([0.0101, 0.0107, 0.0152], rel=0.025)
    assert found["se_speakers"].tolist() == pytest.approx([0.0172, 0.0178, 0.0294], rel=0.025)
    assert (found["low"] < found["wer"]).all()
    assert (found["wer"] < found["high"]).all()


def test_parts_of_the_standard_error_add_up_to_the_interval() -> None:
    rng = np.random.default_rng(4)
    outcomes = [made("many", rng.uniform(0.1, 0.3, 5)), made("one", [0.2])]
    rows = summarise(outcomes, np.random.default_rng(0)).to_dict("records")
    parts = ("se_from_seeds", "se_from_test_set", "se_from_interaction")
    for row in rows:
        assert all(row[part] >= 0 for part in parts), "of one run the other's seeds stand in"
        standard_error = np.sqrt(sum(row[part] ** 2 for part in parts))
        # On the log scale; Student's t of so few runs is wider than the normal's 1.96.
        half = np.log(row["high"] / row["wer"]) * row["wer"]
        assert 1.96 < half / standard_error < 4.4
    many, one = rows
    assert one["se_from_seeds"] > 2 * many["se_from_seeds"]


def test_golden_pairs(golden: list[SystemRuns]) -> None:
    found = compare_pairs(golden, np.random.default_rng(0))
    assert tuple(found.columns) == PAIR_COLUMNS
    assert (found["a"] + found["b"]).tolist() == ["ab", "ac", "bc"]
    assert found["delta_wer"].tolist() == pytest.approx([0.0426, 0.1087, 0.0661], abs=5e-5)
    assert found["mapsswe_segments"].tolist() == pytest.approx([183, 193, 208], rel=0.02)
    assert found["mapsswe_z"].tolist() == pytest.approx([-3.067, -7.587, -4.263], rel=0.02)
    assert found[["mcnemar_b", "mcnemar_c"]].to_numpy().tolist() == [[16, 10], [15, 2], [12, 5]]
    assert found["mcnemar_p"].round(4).tolist() == [0.3269, 0.0023, 0.1435]
    assert found["wilcoxon_p"].round(4).tolist() == [0.0234, 0.0078, 0.0156]
    assert found["verdict"].tolist() == ["checkpoints differ"] * 3
    assert (found["probability_of_improvement"] > 0.98).all()
    assert found["share_seeds"].isna().all()
    assert (found["share_test_set"] == 1).all()


def test_a_planted_difference_is_found_whichever_way_round() -> None:
    good, bad = made("good", [0.10, 0.11, 0.12]), made("bad", [0.3, 0.3, 0.3], 1)
    there = compare_pairs([good, bad], np.random.default_rng(0)).iloc[0]
    back = compare_pairs([bad, good], np.random.default_rng(0)).iloc[0]
    assert there["verdict"] == back["verdict"] == "good better"
    assert there["delta_wer"] == -back["delta_wer"] > 0
    assert there["low"] > 0 > back["high"]
    assert (there["mcnemar_b"], there["mcnemar_c"]) == (back["mcnemar_c"], back["mcnemar_b"])


def test_twelve_speakers_need_no_generator() -> None:
    systems = [made("one", [0.2, 0.22, 0.21]), made("two", [0.24, 0.2, 0.22], 1)]
    for table in (compare_pairs, summarise):
        one, two = (table(systems, np.random.default_rng(seed)) for seed in (0, 1))
        pd.testing.assert_frame_equal(one, two)


def test_two_copies_are_undecided_or_within_the_margin_equivalent() -> None:
    rates = [0.2, 0.22, 0.21]
    for other in (made("copy", rates), made("copy", rates, 1)):
        pair = [made("one", rates), other]
        found = compare_pairs(pair, np.random.default_rng(0), margin=0.001).iloc[0]
        assert found["verdict"] == "undecided"
        assert found["low"] <= 0 <= found["high"]
        assert found["remedy"]
        found = compare_pairs(pair, np.random.default_rng(0), margin=0.2).iloc[0]
        assert found["verdict"] == "equivalent"
        assert -0.2 < found["low"] <= found["high"] < 0.2
        assert (found["remedy"], found["coverage"]) == ("", pytest.approx(0.9))


def test_a_system_against_itself_has_no_variance_to_judge_by() -> None:
    one = made("one", [0.2])
    twin = SystemRuns(name="twin", runs=one.runs)
    found = compare_pairs([one, twin], np.random.default_rng(0)).iloc[0]
    assert (found["verdict"], found["delta_wer"]) == ("undecided", 0)
    assert np.isnan(found[["p", "p_adjusted", "low", "high"]].to_numpy(float)).all()
    assert "unknown" in found["remedy"]


def test_no_error_at_all_is_not_certainty() -> None:
    perfect, other = made("perfect", [0.0, 0.0, 0.0]), made("other", [0.05, 0.06, 0.04], 1)
    row = summarise([perfect, other], np.random.default_rng(0)).iloc[0]
    assert (row["wer"], row["low"]) == (0, 0)
    assert row["high"] == pytest.approx(1.96**2 / (120 + 1.96**2), rel=1e-3)
    found = compare_pairs([perfect, other], np.random.default_rng(0)).iloc[0]
    assert found["verdict"] == "perfect better"
    assert found["p"] > 0
    both = compare_pairs([perfect, made("p", [0.0, 0.0])], np.random.default_rng(0)).iloc[0]
    assert both["verdict"] == "undecided"


def test_claims_are_a_family_of_their_own() -> None:
    systems = [made(str(n), [0.2 + n / 100] * 3, n) for n in range(5)]
    plain = compare_pairs(systems, np.random.default_rng(0))
    claimed = compare_pairs(systems, np.random.default_rng(0), [("4", "0")])
    assert claimed["claim"].sum() == 1
    before, after = (table[(table["a"] == "0") & (table["b"] == "4")] for table in (plain, claimed))
    assert after["p_adjusted"].item() < before["p_adjusted"].item()
    assert after["coverage"].item() == pytest.approx(0.955)
    assert (plain["p_adjusted"] >= plain["p"]).all()
    for table in (plain, claimed):
        apart = table["verdict"].str.endswith("better")
        assert (apart == (table["p_adjusted"] < 0.05)).all()
        assert (apart == ((table["low"] > 0) | (table["high"] < 0))).all()


def test_a_single_run_among_systems_with_seeds_borrows_their_variance() -> None:
    three, one = made("three", [0.2, 0.26, 0.23]), made("one", [0.33], 1)
    found = compare_pairs([three, one], np.random.default_rng(0)).iloc[0]
    alone = compare_pairs(
        [SystemRuns(name="three", runs=three.runs[:1]), one], np.random.default_rng(0)
    ).iloc[0]
    assert found["p"] > 2 * alone["p"]
    assert found["verdict"] == "undecided"
    assert alone["verdict"] == "checkpoints differ"
    said = " ".join(assumptions([three, one]))
    assert "one: a single run, so the variance between its seeds is unknown" in said
    said = " ".join(assumptions([SystemRuns(name="three", runs=three.runs[:1]), one]))
    assert "these checkpoints; whether the recipes differ is unknown" in said


def test_unequal_variances_of_seeds_are_reported() -> None:
    alike = [made(str(n), [0.2, 0.22, 0.21], n) for n in range(3)]
    (said,) = assumptions(alike)
    assert said.startswith("the variance between seeds is pooled over 3 systems (Cochran's test")
    (said,) = assumptions([*alike, made("wild", [0.1, 0.9, 0.4], 9)])
    assert said.startswith("seeds scatter unequally")
    assert "wild more than the rest" in said
    (said,) = assumptions([made(str(n), [0.2, 0.22], n) for n in range(3)])
    assert said.startswith("a system has two seeds only: ")


def test_more_runs_of_a_system_are_pooled() -> None:
    found = summarise([made("x", [0.1, 0.3])], np.random.default_rng(0)).iloc[0]
    assert found["num_seeds"] == 2
    assert found["num_ref_words"] == 2 * 120 * WORDS
    assert found["wer"] == pytest.approx(found["errors"] / found["num_ref_words"])
    # Two seeds so far apart say nothing about a third.
    assert np.isnan([found["low"], found["high"]]).all()


def test_a_single_speaker_is_resampled_by_utterance_with_a_note() -> None:
    alone = [made("x", [0.1]), made("y", [0.3], 1)]
    for outcome in alone:
        outcome.runs[0]["speaker"] = "me"
    found = compare_pairs(alone, np.random.default_rng(0)).iloc[0]
    assert found["low"] < found["delta_wer"] < found["high"]
    rows = summarise(alone, np.random.default_rng(0))
    assert rows["se_speakers"].tolist() == pytest.approx(rows["se_utterances"].tolist(), rel=0.05)
    assert "hold for this speaker only" in " ".join(assumptions(alone))


def test_a_run_that_recognised_nothing_has_a_wer_of_one() -> None:
    run = nothing_recognised(made("x", [0.1]).runs[0])
    found = summarise([SystemRuns(name="x", runs=(run, run))], np.random.default_rng(0)).iloc[0]
    assert found["wer"] == 1
    assert set(run["hyp"]) == {""}


def test_none_and_one_make_no_pair() -> None:
    assert summarise([], np.random.default_rng(0)).empty
    found = compare_pairs([made("x", [0.1])], np.random.default_rng(0))
    assert found.empty
    assert tuple(found.columns) == PAIR_COLUMNS


def test_one_utterance_is_too_few() -> None:
    outcome = made("x", [0.1])
    short = SystemRuns(name="x", runs=(outcome.runs[0].head(1),))
    with pytest.raises(UserError, match="two utterances or more that all systems read, got 1"):
        summarise([short], np.random.default_rng(0))


def test_other_utterances_are_a_bug_of_the_caller() -> None:
    one, two = made("x", [0.1]), made("y", [0.1], 1)
    shuffled = SystemRuns(name="y", runs=(two.runs[0].iloc[::-1],))
    with pytest.raises(AssertionError, match="y: other utterances"):
        compare_pairs([one, shuffled], np.random.default_rng(0))


def test_a_table_of_the_size_of_librispeech() -> None:
    """All pairs of 20 systems with 5 seeds on 2,620 utterances of 40 speakers, 10,000 replicates.

    Measured, not timed here.
    """
    systems = [made(f"s{n:02d}", [0.1 + n / 200] * 5, n, num_speakers=262) for n in range(20)]
    for system in systems:
        for run in system.runs:
            run["speaker"] = [f"s{u % 40}" for u in range(len(run))]
    found = compare_pairs(systems, np.random.default_rng(0))
    assert len(found) == 190
    ends = found[(found["a"] == "s00") & (found["b"] == "s19")].iloc[0]
    assert ends["verdict"] == "s00 better"
    assert ends["delta_wer"] == pytest.approx(0.095, abs=0.005)


def anything(rng: np.random.Generator) -> list[SystemRuns]:
    """Two to eleven systems on a few utterances: perfect, hopeless, inserting, with empty references."""
    num_utterances = int(rng.integers(2, 14))
    words = rng.integers(rng.integers(2), 6, num_utterances)
    words[0] = max(1, words[0])
    speakers = [
        f"s{n}" for n in rng.integers(rng.integers(1, num_utterances + 1), size=num_utterances)
    ]
    outcomes = []
    for number in range(int(rng.choice([2, 3, 5, 11], p=[0.4, 0.3, 0.2, 0.1]))):
        runs = []
        for _ in range(int(rng.integers(1, 5))):
            wrong = rng.binomial(words, rng.choice([0.0, 0.3, 1.0]))
            extra = rng.poisson(rng.choice([0.0, 0.5]), num_utterances)
            runs.append(
                pd.DataFrame(
                    {
                        "id": [f"u{n}" for n in range(num_utterances)], "speaker": speakers,
                        "num_ref_words": words, "substitutions": wrong, "deletions": 0,
                        "insertions": extra, "ref": [" ".join("a" * n) for n in words],
                        "hyp": [" ".join("x" * k + "a" * (n - k)) for k, n in zip(wrong, words, strict=True)],
                    }
                )
            )  # fmt: skip
        outcomes.append(SystemRuns(name=f"n{number}", runs=tuple(runs)))
    return outcomes


@pytest.mark.parametrize("seed", range(40))
def test_no_verdict_contradicts_its_interval_for_any_transcripts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    outcomes = anything(rng)
    rows = summarise(outcomes, rng)
    assert (rows["high"].isna() | (rows["high"] > rows["wer"])).all()
    for pair in compare_pairs(outcomes, rng, [("n0", "n1")]).to_dict("records"):
        zero_is_out = pair["low"] > 0 or pair["high"] < 0
        differ = pair["verdict"].endswith("better") or pair["verdict"] == "checkpoints differ"
        assert differ == zero_is_out or "equivalent" in pair["verdict"]
        assert not pair["p"] <= 0
        assert bool(pair["remedy"]) == (pair["verdict"] == "undecided")
    if len(outcomes) > 2 and outcomes[0].runs[0]["speaker"].nunique() > 1:
        assert 0 <= rank_over_speakers(outcomes).p <= 1
    assert all(map(str, assumptions(outcomes)))
