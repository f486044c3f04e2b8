"""A comparison as JSON, CSV, Markdown and LaTeX."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.results.comparability import STAMP
from bench.results.sentences import (
    MINUS,
    differ,
    interval,
    known,
    p_value,
    percent,
    points,
    sentence_of,
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of systems, as printed."""

    systems: pd.DataFrame
    """The table of `bench.results.pairs.summarise`."""
    pairs: pd.DataFrame
    """The table of `bench.results.pairs.compare_pairs`."""
    not_comparable: tuple[str, ...]
    """Facts in which the systems differ, so that they are not comparable."""
    leakage: tuple[str, ...] = ()
    """Leakage between the splits of the systems' corpora, a sentence each."""
    notes: tuple[str, ...] = ()

    @property
    def stamps(self) -> tuple[str, ...]:
        """Warnings to print above the numbers in every form."""
        if not self.not_comparable:
            return self.leakage
        return f"{STAMP}: the systems differ in {', '.join(self.not_comparable)}", *self.leakage


def as_json(comparison: Comparison) -> dict[str, Any]:
    """An object with `systems`, `pairs` and the stamps; unknown numbers are null."""
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
    """Stamps as lines that begin with #, the systems, an empty line, the pairs."""
    head = "".join(f"# {_one_line(stamp)}\n" for stamp in comparison.stamps)
    systems = comparison.systems.to_csv(index=False, lineterminator="\n")
    return head + systems + "\n" + comparison.pairs.to_csv(index=False, lineterminator="\n")


def as_markdown(comparison: Comparison) -> str:
    """Both tables, with escaped names."""
    parts = [f"**{_in_markdown(stamp)}**" for stamp in comparison.stamps]
    for header, rows in (system_cells(comparison), pair_cells(comparison)):
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        parts.append("\n".join("| " + " | ".join(map(_in_markdown, line)) + " |" for line in lines))
    return "\n\n".join(parts)


def as_latex(comparison: Comparison) -> str:
    """Both tables as `tabular` with the rules of booktabs."""
    parts = [rf"\textbf{{{_in_latex(stamp)}}}\par" for stamp in comparison.stamps]
    for header, rows in (system_cells(comparison), pair_cells(comparison)):
        lines = [" & ".join(map(_in_latex, line)) + r" \\" for line in (header, *rows)]
        columns = "l" + "r" * (len(header) - 1)
        top, body = lines[0], "\n".join(lines[1:])
        parts.append(
            rf"\begin{{tabular}}{{{columns}}}" + "\n\\toprule\n" + top + "\n\\midrule\n"
            + body + "\n\\bottomrule\n" + r"\end{tabular}"
        )  # fmt: skip
    return "\n\n".join(parts)


Cells = tuple[list[str], list[list[str]]]
"""A header and rows, the first column a name."""


def system_cells(comparison: Comparison) -> Cells:
    """WER with its interval; rates and standard errors in percent."""
    header = ["system", "WER %", "95 %", "SE utterances", "SE speakers", "errors", "words", "seeds"]
    rows = [
        [
            row["name"],
            percent(row["wer"]),
            interval(row["low"], row["high"]),
            percent(row["se_utterances"], 2),
            percent(row["se_speakers"], 2),
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
            percent(row["coverage"]),
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
    """The WER of each row's system minus that of each column's, in points; with a star if the
    verdict is that they differ, "=" if they are equivalent."""
    names = list(comparison.systems["name"])
    found: dict[tuple[str, str], str] = {}
    for row in comparison.pairs.to_dict("records"):
        mark = "*" if differ(row["verdict"]) else "=" if "equivalent" in row["verdict"] else ""
        found[row["b"], row["a"]] = points(row["delta_wer"]) + mark
        found[row["a"], row["b"]] = points(-row["delta_wer"]) + mark
    rows = [[name, *(found.get((name, other), "") for other in names)] for name in names]
    return ["", *names], rows


def verdicts(comparison: Comparison) -> Sequence[str]:
    """A sentence for each pair, claims first."""
    rows = comparison.pairs.to_dict("records")
    return [sentence_of(row) for row in sorted(rows, key=lambda row: not row["claim"])]


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """`row` with plain values for JSON; None for NaN and infinity."""
    made: dict[str, Any] = {}
    for key, value in row.items():
        plain = value.item() if hasattr(value, "item") else value
        unknown = isinstance(plain, float) and not math.isfinite(plain)
        made[str(key)] = None if unknown else plain
    return made


def _nested(pair: dict[str, Any]) -> dict[str, Any]:
    """`pair` with an object for each test, as of `mapsswe_z`, and for each kind of interval, as of
    `speakers_low`."""
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


def _in_markdown(text: str) -> str:
    return re.sub(r"([\\|*`<])", r"\\\1", _one_line(text))


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}",  # after a line's end it would be a length
    "Δ": r"$\Delta$", MINUS: "$-$", "–": "--",
}  # fmt: skip


def _in_latex(text: str) -> str:
    return "".join(_LATEX.get(symbol, symbol) for symbol in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
