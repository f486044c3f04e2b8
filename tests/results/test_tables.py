"""A comparison in each of its forms."""

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from bench.results.pairs import PAIR_COLUMNS, SYSTEM_COLUMNS
from bench.results.sentences import Undecided, remedy_of
from bench.results.tables import (
    Comparison,
    as_csv,
    as_json,
    as_latex,
    as_markdown,
    matrix_cells,
    pair_cells,
    system_cells,
    verdicts,
)


def comparison(a: str = "a", b: str = "b", **changes: Any) -> Comparison:
    """Two systems 4.26 points apart; `changes` are of the pair."""
    parts = (math.nan, 0.017, math.nan)
    systems = [
        (a, 0.113913, 131, 1150, 0.0101, 0.0172, 0.07, 0.158, 1, *parts),
        (b, 0.156522, 1_800_000, 11_500_000, 0.0107, math.nan, 0.11, 0.2, 1, *parts),
    ]
    pair = dict.fromkeys(PAIR_COLUMNS, 0.5) | {
        "a": a, "b": b, "delta_wer": 0.0426, "low": 0.0086, "high": 0.0767, "p_adjusted": 0.019,
        "mapsswe_segments": 183, "mapsswe_p": 1e-9, "mcnemar_b": 16, "wilcoxon_p": math.nan,
        "minimum_detectable_effect": 0.0512, "verdict": f"{a} better", "coverage": 0.975,
        "claim": False, "margin": 0.02, "remedy": "",
    }  # fmt: skip
    return Comparison(
        systems=pd.DataFrame(systems, columns=list(SYSTEM_COLUMNS)),
        pairs=pd.DataFrame([pair | changes]),
        not_comparable=(),
    )


def stamped(**names: str) -> Comparison:
    plain = comparison(**names)
    return Comparison(
        systems=plain.systems,
        pairs=plain.pairs,
        not_comparable=("data", "budget.num_trials"),
        cautions=("TRAINING DATA DIFFER (a: x, b: x+y)",),
        leakage=("LEAKAGE between the splits of x_y: train/test same text (3)",),
        notes=("a note",),
    )


def test_json_has_the_promised_keys_and_null_for_unknown_values() -> None:
    found = as_json(stamped())
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    first, second = found["systems"]
    assert {"name", "wer", "errors", "num_ref_words", "se_utterances", "se_speakers"} <= set(first)
    assert (first["errors"], second["se_speakers"]) == (131, None)
    (pair,) = found["pairs"]
    assert set(pair["mapsswe"]) == {"segments", "mean", "sd", "z", "p"}
    assert set(pair["mcnemar"]) == {"b", "c", "p"}
    assert pair["wilcoxon"] == {"p": None}
    assert {"delta_wer", "low", "high", "p", "p_adjusted", "verdict"} <= set(pair)
    assert "probability_of_improvement" in pair
    assert found["not_comparable"] == ["data", "budget.num_trials"]
    assert found["leakage"][0].startswith("LEAKAGE")
    assert found["cautions"] == ["TRAINING DATA DIFFER (a: x, b: x+y)"]
    assert found["notes"] == ["a note"]


def test_csv_is_two_tables_that_read_back() -> None:
    head, text = as_csv(comparison(a='x,"y"')), as_csv(stamped())
    systems, pairs = (list(csv.DictReader(io.StringIO(part))) for part in head.split("\n\n"))
    assert [row["name"] for row in systems] == ['x,"y"', "b"]
    assert float(systems[0]["wer"]) == 0.113913
    assert pairs[0]["verdict"] == 'x,"y" better'
    assert [line[:2] for line in text.splitlines()[:4]] == ["# ", "# ", "# ", "na"]


def test_cells_show_percent_and_points() -> None:
    header, rows = system_cells(comparison())
    assert dict(zip(header, rows[0], strict=True)) == {
        "system": "a", "WER %": "11.4", "95 %": "7.0 to 15.8", "SE utterances": "1.01",
        "SE speakers": "1.72", "errors": "131", "words": "1,150", "seeds": "1",
    }  # fmt: skip
    assert rows[1][4:7] == ["–", "1,800,000", "11,500,000"]
    header, rows = pair_cells(comparison(low=-0.0086))
    assert dict(zip(header, rows[0], strict=True)) == {
        "pair": "a : b", "ΔWER": "+4.3", "interval": "−0.9 to +7.7", "level %": "97.5", "p (adjusted)": "0.019",
        "P(better)": "0.50", "MAPSSWE p": "<0.001", "McNemar p": "0.500", "Wilcoxon p": "–",
        "verdict": "a better",
    }  # fmt: skip


def test_a_star_separates_in_the_matrix() -> None:
    assert matrix_cells(comparison())[1] == [["a", "", "−4.3*"], ["b", "+4.3*", ""]]
    open_pair = comparison(verdict="undecided")
    assert matrix_cells(open_pair)[1] == [["a", "", "−4.3"], ["b", "+4.3", ""]]
    alike = comparison(verdict="equivalent")
    assert matrix_cells(alike)[1] == [["a", "", "−4.3="], ["b", "+4.3=", ""]]
    assert pair_cells(comparison(claim=True))[1][0][0] == "a : b (claim)"


def test_a_sentence_a_pair() -> None:
    assert verdicts(comparison()) == [
        "a better: b has +4.3 points of WER against a (97.5 % interval +0.9 to +7.7, adjusted p "
        "0.019)."
    ]
    (alike,) = verdicts(comparison(verdict="equivalent"))
    assert alike.startswith("Equivalent within ±2.0 points: b has +4.3")
    (single,) = verdicts(comparison(verdict="checkpoints differ"))
    assert single.startswith("Checkpoints differ: ")
    assert single.endswith("whether their recipes differ is unknown (one run each).")
    (single,) = verdicts(comparison(verdict="checkpoints equivalent"))
    assert single.startswith("Checkpoints equivalent within ±2.0 points: ")


@pytest.mark.parametrize(
    ("seeds", "speakers", "said"),
    [
        (12.0, math.nan, "; 12 seeds a system would decide it with 80 % power"),
        (math.nan, 48.0, "since test speakers are the limit: 48 of them would with"),
        (math.nan, math.nan, "; neither more seeds nor more test speakers alone would decide it"),
    ],
)
def test_an_undecided_pair_has_a_remedy(seeds: float, speakers: float, said: str) -> None:
    pair = Undecided(
        p=0.5, seeds_needed=seeds, speakers_needed=speakers, minimum_detectable_effect=0.0512
    )
    (found,) = verdicts(comparison(verdict="undecided", remedy=remedy_of(pair)))
    assert found.startswith("Undecided: b has +4.3 points of WER against a ")
    assert said in found
    assert found.endswith("as it is, that takes a difference of about 5.1 points.")
    unknown = {"remedy": remedy_of(replace(pair, p=math.nan)), "low": math.nan, "high": math.nan}
    (found,) = verdicts(comparison(verdict="undecided", **unknown))
    assert found.startswith("Undecided: b has +4.3 points of WER against a; the variance of")


def test_an_unknown_interval_is_called_unknown() -> None:
    assert pair_cells(comparison(low=math.nan, high=math.nan))[1][0][2] == "unknown"


def test_markdown_keeps_its_columns_whatever_a_name_holds() -> None:
    text = as_markdown(comparison(a="x|y\n*<b>`"))
    assert r"| x\|y \*\<b\>\` | 11.4 |" in text
    systems, pairs = text.split("\n\n")
    for part in (systems, pairs):
        widths = {line.replace(r"\|", "").count("|") for line in part.splitlines()}
        assert len(widths) == 1
    assert as_markdown(stamped()).startswith("**NOT COMPARABLE: the systems differ in data, ")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a_b & c", r"a\_b \& c"),
        ("100%#$", r"100\%\#\$"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("[x]~^|", r"{[}x]\textasciitilde{}\textasciicircum{}\textbar{}"),
    ],
)
def test_latex_escapes_what_a_name_holds(name: str, shown: str) -> None:
    text = as_latex(comparison(a=name))
    assert f"\n{shown} & 11.4 & " in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"$\Delta$WER" in text
    assert r"\textless{}0.001" in text


def test_latex_keeps_its_stamps() -> None:
    first, _, third = as_latex(stamped()).split("\n\n")[:3]
    assert first == r"\textbf{NOT COMPARABLE: the systems differ in data, budget.num\_trials}\par"
    assert r"x\_y" in third
