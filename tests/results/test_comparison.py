import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.results.comparison import compare
from bench.results.sentences import sentence_of
from bench.runs import Tables
from bench.study.definition import StudyDefinition
from reports.columns import COLUMNS
from tests.studies import study_of, study_on

SPEAKERS, PER_SPEAKER, WORDS = 12, 10, 8


@pytest.fixture
def definition() -> StudyDefinition:
    return study_of(["ds-gru", "ds-lstm", "ds-rnn"], name="x")


def tables(rates: dict[str, list[float]], failed: tuple[str, ...] = ()) -> Tables:
    """Confirm runs whose utterances have binomial errors at the given rate per seed."""
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.8, 1.2, SPEAKERS)
    runs, utterances = [], []
    for system, seeds in rates.items():
        runs.append({"run": f"{system}/trial-000", "system": system, "kind": "trial", "state": "finished", "train_seconds": 5.0})  # fmt: skip
        for seed, rate in enumerate(seeds):
            run = f"{system}/confirm-{seed}"
            rows = [
                {
                    "run": run, "system": system, "seed": seed, "id": f"u{s}-{u}", "speaker": f"s{s:02d}",
                    "num_ref_words": WORDS, "substitutions": rng.binomial(WORDS, rate * hard[s]),
                    "deletions": 0, "insertions": 0, "ref": "word " * WORDS, "hyp": "word " * WORDS,
                }
                for s in range(SPEAKERS)
                for u in range(PER_SPEAKER)
            ]  # fmt: skip
            wer = sum(r["substitutions"] for r in rows) / (WORDS * len(rows))
            runs.append({"run": run, "system": system, "kind": "confirm", "state": "finished", "test_wer": wer, "test_cer": wer / 3, "train_seconds": 10.0})  # fmt: skip
            utterances += rows
    runs += [{"run": f"{v}/trial-000", "system": v, "kind": "trial", "state": "failed"} for v in failed]  # fmt: skip
    frames = {
        name: pd.DataFrame(rows).reindex(columns=sorted({*COLUMNS[name], *EXTRA.get(name, ())}))
        for name, rows in (("runs", runs), ("utterances", utterances), ("curves", []), ("watch", []))
    }  # fmt: skip
    return Tables(**frames)


EXTRA = {
    "runs": (
        "num_parameters",
        "macs_per_second_of_audio",
        "audio_seconds_per_second",
        "peak_memory_bytes",
    )
}


def test_a_clear_difference_is_found_and_stated(definition: StudyDefinition) -> None:
    found = compare(
        definition,
        tables({"ds-gru": [0.1] * 3, "ds-lstm": [0.2] * 3, "ds-rnn": [0.4] * 3}),
    )
    assert set(found.pairs["verdict"]) == {"ds-gru better", "ds-lstm better"}
    assert found.verdict.startswith("ds-gru is better: it has a test WER of ")
    row = found.systems.set_index("system").loc["ds-gru"]
    assert row["wer_low"] < row["wer_mean"] < row["wer_high"]
    assert row["wer_mean"] == pytest.approx(0.1, abs=0.02)
    assert (row["num_trials"], row["num_seeds"], row["num_finished"]) == (1, 3, 1)


def test_two_similar_systems_are_undecided_with_a_remedy(
    definition: StudyDefinition,
) -> None:
    found = compare(definition, tables({"ds-gru": [0.2] * 3, "ds-lstm": [0.2] * 3}))
    assert found.verdict.startswith("Undecided: ")
    assert "would decide it with 80 % power" in found.verdict
    assert found.verdict.endswith("No finished confirm run: ds-rnn.")
    assert found.pairs["verdict"].tolist() == ["undecided"]


def with_rates(made: Tables, system: str, slots: dict[int, float]) -> Tables:
    """`made` with trials of `system`: by slot a learning rate, the last slot the best."""
    trials = [
        {"run": f"{system}/trial-{slot:03d}", "system": system, "kind": "trial", "slot": slot,
         "state": "finished", "valid_wer": 0.5 - 0.01 * slot, "params": {RATE: rate}}
        for slot, rate in slots.items()
    ]  # fmt: skip
    others = made.runs[(made.runs["system"] != system) | (made.runs["kind"] != "trial")]
    return replace(made, runs=pd.concat([others, pd.DataFrame(trials)], ignore_index=True))


RATE = "optim.learning_rate"


def test_a_winner_at_the_edge_of_its_range_withholds_better(definition: StudyDefinition) -> None:
    made = tables({"ds-gru": [0.1] * 3, "ds-lstm": [0.2] * 3, "ds-rnn": [0.4] * 3})
    found = compare(definition, with_rates(made, "ds-gru", {0: 0.0015, 1: 0.0059}))
    verdicts = found.pairs.set_index(["a", "b"])["verdict"].to_dict()
    assert verdicts == {
        ("ds-gru", "ds-lstm"): "withheld",
        ("ds-gru", "ds-rnn"): "withheld",
        ("ds-lstm", "ds-rnn"): "ds-lstm better",
    }
    said = (
        "the best trial of ds-gru lies at the upper edge of optim.learning_rate (0.0059 of "
        "0.000375 to 0.006, log): widen the range in sweeps/base.toml before calling it better or "
        "worse"
    )
    assert found.verdict.startswith("Withheld: ds-gru has a test WER of")
    assert found.verdict.endswith(f", but {said}.")
    assert found.pairs["remedy"].tolist() == [said, said, ""]
    assert sentence_of(found.pairs.iloc[0].to_dict()).startswith("Withheld: ds-lstm has +")


def test_inside_its_range_and_as_the_default_a_winner_withholds_nothing(
    definition: StudyDefinition,
) -> None:
    made = tables({"ds-gru": [0.1] * 3, "ds-lstm": [0.2] * 3, "ds-rnn": [0.4] * 3})
    for slots in ({0: 0.0015, 1: 0.003}, {0: 0.0059}):
        assert compare(definition, with_rates(made, "ds-gru", slots)).verdict.startswith(
            "ds-gru is better"
        )


def test_one_variant_and_none(definition: StudyDefinition) -> None:
    one = compare(
        replace(definition, systems={"ds-gru": definition.systems["ds-gru"]}),
        tables({"ds-gru": [0.2, 0.3]}),
    )
    assert "2 seeds" in one.verdict
    assert one.pairs.empty
    none = compare(definition, tables({}, failed=("ds-gru", "ds-lstm")))
    assert none.verdict == "No system has a finished confirm run, so nothing can be said yet."
    assert none.systems["wer_mean"].isna().all()
    assert none.systems["num_failed"].tolist() == [1, 1, 0]


def test_the_gain_by_tuning_is_reported_for_each_system() -> None:
    definition = study_on("default-or-tuned")
    rates = {"rnn-default": 0.4, "rnn-tuned": 0.2, "gru-default": 0.2, "gru-tuned": 0.2}
    findings = compare(definition, tables({name: [r] * 3 for name, r in rates.items()})).findings
    assert [topic for topic, _ in findings] == [
        "What tuning bought: rnn-tuned against rnn-default",
        "What tuning bought: gru-tuned against gru-default",
    ]
    rnn, gru = (sentence for _, sentence in findings)
    assert rnn.endswith(", rnn-tuned better")
    assert " % at the defaults, " in rnn
    figure = r"\N{MINUS SIGN}[12]\d\.\d"
    assert re.search(rf" tuned: {figure} points \([\d.]+ % interval {figure} to {figure}\)", rnn)
    assert "better" not in gru


def test_shares_of_the_data_are_joined_by_a_power_law() -> None:
    definition = study_on("data-scale")
    shares = {"eighth": 0.125, "quarter": 0.25, "half": 0.5, "all": 1.0}
    made = tables({label: [0.1 * share**-0.5] * 3 for label, share in shares.items()})
    ((matter, found),) = compare(definition, made).findings
    assert matter == "WER against the amount of data"
    exponent = float(found.partition("share^−")[2].split()[0])
    assert exponent == pytest.approx(0.5, abs=0.05)
    assert "twice the data, " in found


def test_other_questions_have_no_power_law(definition: StudyDefinition) -> None:
    assert compare(definition, tables({"ds-gru": [0.1], "ds-lstm": [0.2]})).findings == ()


def test_what_costs_more_and_errs_more_is_beaten(definition: StudyDefinition) -> None:
    made = tables({"ds-gru": [0.1, 0.1], "ds-lstm": [0.2, 0.2]})
    for macs, pareto_optimal in ((1.0, [True, True, False]), (9.0, [True, False, False])):
        costs = made.runs["system"].map({"ds-gru": 5.0, "ds-lstm": macs})
        runs = made.runs.assign(macs_per_second_of_audio=costs)
        found = compare(definition, replace(made, runs=runs)).systems
        assert found["pareto_optimal"].tolist() == pareto_optimal


def test_the_numbers_do_not_depend_on_the_order_of_rows(definition: StudyDefinition) -> None:
    made = tables({"ds-gru": [0.1, 0.12], "ds-lstm": [0.2, 0.25]})
    shuffled = replace(made, utterances=made.utterances.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(
        compare(definition, made).systems, compare(definition, shuffled).systems
    )


def test_columns_are_those_of_the_report(definition: StudyDefinition) -> None:
    found = compare(definition, tables({"ds-gru": [0.1] * 2, "ds-lstm": [0.2] * 2}))
    measured = {"real_time_factor"}  # by bench.speed, not by a study
    assert set(COLUMNS["systems"]) - measured <= set(found.systems.columns)
    assert set(COLUMNS["pairs"]) <= set(found.pairs.columns)


def test_two_within_the_margin_are_equivalent(definition: StudyDefinition) -> None:
    made = tables({"ds-gru": [0.1] * 12, "ds-lstm": [0.1] * 12, "ds-rnn": [0.5] * 12})
    found = compare(definition, made)
    assert found.verdict.startswith("Equivalent: ds-lstm has a test WER of ")
    assert " ds-lstm is better than ds-rnn (" in found.verdict


def test_a_run_without_anything_to_score_counts_as_one_hundred_percent(
    definition: StudyDefinition,
) -> None:
    made = tables({"ds-gru": [0.1] * 3, "ds-lstm": [0.12] * 3})
    last = {"run": "ds-gru/confirm-2", "state": "diverged", "test_wer": np.nan}
    runs = made.runs.set_index("run")
    runs.loc[last["run"], ["state", "test_wer"]] = last["state"], last["test_wer"]
    lost = replace(
        made,
        runs=runs.reset_index(),
        utterances=made.utterances[made.utterances["run"] != last["run"]],
    )
    found = compare(definition, lost)
    gru = found.systems.set_index("system").loc["ds-gru"]
    assert gru["num_seeds"] == 3
    assert gru["wer_mean"] == pytest.approx((0.1 + 0.1 + 1) / 3, abs=0.02)
    assert "1 of 3 confirm runs of ds-gru left no checkpoint to score (diverged)" in " ".join(
        found.assumptions
    )
    # Without it, the two that are left would pass for the whole.
    assert found.pairs["verdict"].tolist() == ["undecided"]
    going = replace(lost, runs=lost.runs.assign(state=lost.runs["state"].replace("diverged", "running")))  # fmt: skip
    assert compare(definition, going).systems.set_index("system").loc["ds-gru", "num_seeds"] == 2


def test_the_claims_of_a_question_come_first_and_are_answered() -> None:
    definition = study_on("data-scale")
    rates = {"eighth": [0.4, 0.41, 0.42], "quarter": [0.3, 0.31, 0.29], "half": [0.2, 0.21, 0.19]}
    found = compare(definition, tables({**rates, "all": [0.2, 0.2, 0.22]}))
    claims = found.pairs[found.pairs["claim"]]
    assert len(claims) == 3
    assert found.verdict.endswith("2 of 3 claims found; not found: all below half (undecided).")
