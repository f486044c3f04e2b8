"""A comparison in the forms that people paste elsewhere: JSON, CSV, Markdown, LaTeX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.results.comparability import STAMP
from bench.results.sentences import (
    differ,
    interval,
    known,
    p_value,
    sentence_of,
)
from reports.format import bare_percent, points
from reports.text_tables import in_latex, in_markdown, latex_table, markdown_table


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is said of some systems."""

    systems: pd.DataFrame
    """As `bench.results.pairs.summarise` gives it."""
    pairs: pd.DataFrame
    """As `bench.results.pairs.compare_pairs` gives it."""
    not_comparable: tuple[str, ...]
    """Keys in which the systems differ though they should not."""
    leakage: tuple[str, ...] = ()
    """What the splits of the systems' corpora share, a sentence each."""
    notes: tuple[str, ...] = ()

    @property
    def stamps(self) -> tuple[str, ...]:
        """The warnings that go above every form of the numbers."""
        if not self.not_comparable:
            return self.leakage
        return f"{STAMP}: the systems differ in {', '.join(self.not_comparable)}", *self.leakage


def as_json(comparison: Comparison) -> dict[str, Any]:
    """An object with `systems`, `pairs` and what stamps them; an unknown number is null."""
    columns = ["name", "wer", "errors", "num_ref_words", "se_utterances", "se_speakers",
               "low", "high", "num_seeds"]  # fmt: skip
    return {
        "systems": [_plain(row) for row in comparison.systems[columns].to_dict("records")],
        "pairs": [_nested(_plain(row)) for row in comparison.pairs.to_dict("records")],
        "not_comparable": list(comparison.not_comparable),
        "leakage": list(comparison.leakage),
        "notes": list(comparison.notes),
    }


def as_csv(comparison: Comparison) -> str:
    """The systems, an empty line, the pairs; stamps as first lines that begin with #."""
    head = "".join(f"# {_one_line(stamp)}\n" for stamp in comparison.stamps)
    systems = comparison.systems.to_csv(index=False, lineterminator="\n")
    return head + systems + "\n" + comparison.pairs.to_csv(index=False, lineterminator="\n")


def as_markdown(comparison: Comparison) -> str:
    """Both tables; a bar in a name is escaped."""
    stamps = (f"**{in_markdown(stamp)}**" for stamp in comparison.stamps)
    tables = (system_cells(comparison), pair_cells(comparison))
    return "\n\n".join((*stamps, *(markdown_table(*cells) for cells in tables)))


def as_latex(comparison: Comparison) -> str:
    """Both tables as `tabular`, ruled as booktabs does."""
    stamps = (rf"\textbf{{{in_latex(stamp)}}}\par" for stamp in comparison.stamps)
    tables = (system_cells(comparison), pair_cells(comparison))
    return "\n\n".join((*stamps, *(latex_table(*cells) for cells in tables)))


Cells = tuple[list[str], list[list[str]]]
"""A header and rows, the first column a name."""


def system_cells(comparison: Comparison) -> Cells:
    """WER with its interval; rates and standard errors in percent."""
    header = ["system", "WER %", "95 %", "SE utterances", "SE speakers", "errors", "words", "seeds"]
    rows = [
        [
            row["name"],
            bare_percent(row["wer"]),
            interval(row["low"], row["high"]),
            bare_percent(row["se_utterances"], 2),
            bare_percent(row["se_speakers"], 2),
            f"{row['errors']:,.0f}",
            f"{row['num_ref_words']:,.0f}",
            f"{row['num_seeds']:.0f}",
        ]
        for row in comparison.systems.to_dict("records")
    ]
    return header, rows


def pair_cells(comparison: Comparison) -> Cells:
    """Differences in points of WER, the second system minus the first, with the interval that
    decided the verdict and its level."""
    header = ["pair", "ΔWER", "interval", "level %", "p (adjusted)", "P(better)", "MAPSSWE p",
              "McNemar p", "Wilcoxon p", "verdict"]  # fmt: skip
    rows = [
        [
            f"{row['a']} : {row['b']}{' (claim)' if row['claim'] else ''}",
            points(row["delta_wer"]),
            interval(row["low"], row["high"], points),
            bare_percent(row["coverage"]),
            p_value(row["p_adjusted"]),
            known(row["probability_of_improvement"], "{:.2f}"),
            p_value(row["mapsswe_p"]),
            p_value(row["mcnemar_p"]),
            p_value(row["wilcoxon_p"]),
            row["verdict"],
        ]
        for row in comparison.pairs.to_dict("records")
    ]
    return header, rows


def matrix_cells(comparison: Comparison) -> Cells:
    """How many points of WER each row's system lies above (+) or below each column's; a star where
    the verdict is that they differ, "=" where they are equivalent."""
    names = list(comparison.systems["name"])
    found: dict[tuple[str, str], str] = {}
    for row in comparison.pairs.to_dict("records"):
        mark = "*" if differ(row["verdict"]) else "=" if "equivalent" in row["verdict"] else ""
        found[row["b"], row["a"]] = points(row["delta_wer"]) + mark
        found[row["a"], row["b"]] = points(-row["delta_wer"]) + mark
    rows = [[name, *(found.get((name, other), "") for other in names)] for name in names]
    return ["", *names], rows


def verdicts(comparison: Comparison) -> Sequence[str]:
    """A sentence a pair, claims first."""
    rows = comparison.pairs.to_dict("records")
    return [sentence_of(row) for row in sorted(rows, key=lambda row: not row["claim"])]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """Numbers that JSON has, and null for those that nobody knows."""
    made: dict[str, Any] = {}
    for key, value in row.items():
        plain = value.item() if hasattr(value, "item") else value
        unknown = isinstance(plain, float) and not math.isfinite(plain)
        made[str(key)] = None if unknown else plain
    return made


def _nested(pair: dict[str, Any]) -> dict[str, Any]:
    """`mapsswe_z` and its like as objects by test, `speakers_low` as one by what was resampled."""
    made: dict[str, Any] = {}
    for key, value in pair.items():
        test, _, figure = key.partition("_")
        if test in ("utterances", "speakers", "mapsswe", "mcnemar", "wilcoxon") and (
            figure != "needed"
        ):
            made.setdefault(test, {})[figure] = value
        else:
            made[key] = value
    return made


def _one_line(text: str) -> str:
    return " ".join(text.split())
