"""A comparison in the forms that people paste elsewhere: JSON, CSV, Markdown, LaTeX."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.results.pairs import NOT_SEPARATED
from bench.results.refusal import STAMP

MINUS = "\N{MINUS SIGN}"


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
    parts = [f"**{_in_markdown(stamp)}**" for stamp in comparison.stamps]
    for header, rows in (system_cells(comparison), pair_cells(comparison)):
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        parts.append("\n".join("| " + " | ".join(map(_in_markdown, line)) + " |" for line in lines))
    return "\n\n".join(parts)


def as_latex(comparison: Comparison) -> str:
    """Both tables as `tabular`, ruled as booktabs does."""
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
            _percent(row["wer"]),
            _range(row["low"], row["high"]),
            _percent(row["se_utterances"], 2),
            _percent(row["se_speakers"], 2),
            f"{row['errors']:,.0f}",
            f"{row['num_ref_words']:,.0f}",
            f"{row['num_seeds']:.0f}",
        ]
        for row in comparison.systems.to_dict("records")
    ]
    return header, rows


def pair_cells(comparison: Comparison) -> Cells:
    """Differences in points of WER, the second system minus the first."""
    header = ["pair", "ΔWER", "95 %", "p (Holm)", "P(better)", "MAPSSWE p", "McNemar p",
              "Wilcoxon p", "verdict"]  # fmt: skip
    rows = [
        [
            f"{row['a']} : {row['b']}",
            _points(row["delta_wer"]),
            _range(row["low"], row["high"], _points),
            _p(row["p_adjusted"]),
            _known(row["probability_of_improvement"], "{:.2f}"),
            _p(row["mapsswe_p"]),
            _p(row["mcnemar_p"]),
            _p(row["wilcoxon_p"]),
            row["verdict"],
        ]
        for row in comparison.pairs.to_dict("records")
    ]
    return header, rows


def matrix_cells(comparison: Comparison) -> Cells:
    """How many points of WER each row's system lies above (+) or below each column's; a star where
    the verdict separates them."""
    names = list(comparison.systems["name"])
    found: dict[tuple[str, str], str] = {}
    for row in comparison.pairs.to_dict("records"):
        star = "" if row["verdict"] == NOT_SEPARATED else "*"
        found[row["b"], row["a"]] = _points(row["delta_wer"]) + star
        found[row["a"], row["b"]] = _points(-row["delta_wer"]) + star
    rows = [[name, *(found.get((name, other), "") for other in names)] for name in names]
    return ["", *names], rows


def verdicts(comparison: Comparison) -> Sequence[str]:
    """A sentence a pair."""
    sentences = []
    for row in comparison.pairs.to_dict("records"):
        a, b, verdict = row["a"], row["b"], row["verdict"]
        found = (
            f"{b} has {_points(row['delta_wer'])} points of WER against {a} "
            f"(95 % {_range(row['low'], row['high'], _points)}, p {_p(row['p_adjusted'])})"
        )
        if verdict == NOT_SEPARATED:
            gap = _known(100 * row["smallest_gap"], "{:.1f}")
            unseen = f"a difference below about {gap} points could not have been seen"
            sentences.append(f"{a}, {b} not separated: {found}; {unseen}.")
        else:
            sentences.append(f"{verdict}: {found}.")
    return sentences


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
        if test in ("utterances", "speakers", "mapsswe", "mcnemar", "wilcoxon"):
            made.setdefault(test, {})[figure] = value
        else:
            made[key] = value
    return made


def _known(value: float, form: str) -> str:
    return "–" if math.isnan(value) else form.format(value)


def _percent(rate: float, digits: int = 1) -> str:
    return _known(100 * rate, f"{{:.{digits}f}}")


def _points(difference: float) -> str:
    return _known(100 * difference, "{:+.1f}").replace("-", MINUS)


def _p(p: float) -> str:
    return _known(p, "{:.3f}") if not p < 0.001 else "<0.001"


def _range(low: float, high: float, form: Callable[[float], str] = _percent) -> str:
    return f"{form(low)} to {form(high)}"


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
