"""Descriptions say what a run is and how it ended, and nothing in them is taken for Markdown."""

from pathlib import Path
from typing import Any

import pandas as pd

from bench.runs.mlflow import descriptions
from bench.runs.mlflow.descriptions import GAP, Findings
from reports.format import NBSP, in_markdown

RUN: dict[str, Any] = {
    "system": "gru", "kind": "trial", "slot": 3, "seed": 7,
    "params": {"optim.learning_rate": 0.00123456, "model.cell": "a|b"},
}  # fmt: skip


def describe_run(run: dict[str, Any], summary: dict[str, Any] | None) -> str:
    return with_plain_spaces(descriptions.describe_run(run, summary))  # type: ignore[arg-type]


def with_plain_spaces(note: str) -> str:
    return note.replace(GAP, "").replace(NBSP, " ")


def findings(**changes: Any) -> Findings:
    given = {
        "verdict": "a is better.", "command": "python -m x", "report": Path("out/s/report.html"),
        "baseline": "a",
        "systems": pd.DataFrame(
            {
                "system": ["a", "b", "c"], "wer_mean": [0.25, 0.5, float("nan")],
                "wer_low": [0.125, 0.375, float("nan")], "wer_high": [0.375, 0.625, float("nan")],
                "num_seeds": [3, 3, 0],
            }
        ),
        "pairs": pd.DataFrame(
            {"a": ["a"], "b": ["b"], "delta_wer": [0.25], "low": [0.125], "high": [0.375], "p_adjusted": [0.01]}
        ),
        "colors": {"a": "#0072b2", "b": "#d55e00", "c": "#009e73"},
    }  # fmt: skip
    return Findings(**(given | changes))


def test_a_trial_shows_what_was_searched_and_how_it_ended() -> None:
    metrics = {
        "best/valid/wer": 0.33,
        "best/epoch": 25.0,
        "num_epochs": 26.0,
        "train_seconds": 421.0,
    }
    summary = {"state": "pruned", "metrics": metrics, "error": None}
    note = describe_run(RUN, summary)
    assert note.startswith("Trial 3 of **gru**: settings that the search chose, seed 7.")
    assert "`optim.learning_rate`" in note
    assert "0.001235 |" in note
    assert r"a\|b |" in note
    end = "**Pruned** · valid WER 33.0 % · best epoch 25 · 26 epochs · 421 s of training"
    assert note.split("\n\n")[1] == end, "above the fold"
    assert "the defaults of its search space" in describe_run(RUN | {"slot": 0}, None)
    assert "\n\nRunning.\n\n" in describe_run(RUN, None)


def test_a_failure_is_told_and_a_single_run_has_no_table() -> None:
    error = {"kind": "ValueError", "message": "<b>*bad*</b>\nthing"}
    note = describe_run(
        RUN | {"kind": "train", "params": {}}, {"state": "failed", "metrics": {}, "error": error}
    )
    assert note == (
        "A single run of **gru**, seed 7.\n\n"
        r"**Failed** · ValueError: \<b\>\*bad\*\</b\> thing"
    )


def test_a_confirm_run_shows_its_test_score() -> None:
    metrics = {"test/wer": 0.284, "test/cer": 0.153}
    note = describe_run(
        RUN | {"kind": "confirm"}, {"state": "finished", "metrics": metrics, "error": None}
    )
    assert "fresh seed 7; the test split is scored once" in note
    assert "\n\n**Finished** · test WER 28.4 % · test CER 15.3 %\n\n" in note


def test_a_parent_shows_every_system_and_marks_its_own() -> None:
    note = descriptions.describe_parent("b", findings(), ["[Open](#/x)"])
    lines = with_plain_spaces(note).splitlines()
    assert lines[0] == "[Open](#/x)", "MLflow folds all but the first lines"
    assert lines[2] == "**a is better.**"
    assert lines[6] == "| a | 25.0 % | 12.5 % to 37.5 % | baseline | 3 |"
    assert lines[7] == "| **b** | 50.0 % | 37.5 % to 62.5 % | +25.0 (+12.5 to +37.5) | 3 |"
    assert lines[8] == "| c | – | – | – | 0 |"
    assert lines[-1] == "Reproduce: `python -m x` · Report: `out/s/report.html`"


def test_a_difference_turns_with_its_baseline() -> None:
    turned = findings(baseline="b").difference("a")
    assert turned == {
        "wer_delta": -0.25, "wer_delta_low": -0.375, "wer_delta_high": -0.125, "wer_delta_p": 0.01
    }  # fmt: skip
    assert set(findings().difference("a").values()) == {0.0, 1.0}, "the baseline to itself"
    assert findings().difference("c") == {}


def test_markdown_is_escaped() -> None:
    assert in_markdown("a_b `c`\n[d](e)") == r"a\_b \`c\` \[d\](e)"
