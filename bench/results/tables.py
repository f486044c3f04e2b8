"""A comparison as JSON, CSV, Markdown and LaTeX."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.results.comparability import STAMP
from bench.results.sentences import differ, sentence_of
from reports.columns import PairColumns, rows_of
from reports.format import (
    bare_percent,
    decimal,
    in_latex,
    in_markdown,
    interval,
    latex_table,
    markdown_table,
    one_line,
    p_value,
    points,
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
    cautions: tuple[str, ...] = ()
    """Stamps on all numbers: training data that differ, looks that do not count."""
    leakage: tuple[str, ...] = ()
    """Leakage between the splits of the systems' corpora, a sentence each."""
    notes: tuple[str, ...] = ()
    groups: pd.DataFrame | None = None
    gains: pd.DataFrame | None = None
    """The tables of `bench.results.groups.by_group`, with ``--by``."""

    @property
    def stamps(self) -> tuple[str, ...]:
        """Warnings to print above the numbers in every form."""
        differ = f"{STAMP}: the systems differ in {', '.join(self.not_comparable)}"
        return (*([differ] if self.not_comparable else []), *self.cautions, *self.leakage)


def as_json(comparison: Comparison) -> dict[str, object]:
    """An object with `systems`, `pairs` and the stamps; unknown numbers are null."""
    columns = ["name", "wer", "errors", "num_ref_words", "se_utterances", "se_speakers",
               "low", "high", "num_seeds"]  # fmt: skip
    asked = {
        name: [_plain(row) for row in table.to_dict("records")]
        for name, table in (("groups", comparison.groups), ("gains", comparison.gains))
        if table is not None
    }
    return {
        "systems": [_plain(row) for row in comparison.systems[columns].to_dict("records")],
        "pairs": [_nested(_plain(row)) for row in comparison.pairs.to_dict("records")],
        **asked,
        "not_comparable": list(comparison.not_comparable),
        "cautions": list(comparison.cautions),
        "leakage": list(comparison.leakage),
        "notes": list(comparison.notes),
    }


def as_csv(comparison: Comparison) -> str:
    """Stamps as lines that begin with #, then the systems, the pairs and, with ``--by``, groups and
    gains, with an empty line between tables."""
    head = "".join(f"# {one_line(stamp)}\n" for stamp in comparison.stamps)
    tables = (comparison.systems, comparison.pairs, comparison.groups, comparison.gains)
    parts = [t.to_csv(index=False, lineterminator="\n") for t in tables if t is not None]
    return head + "\n".join(parts)


def as_markdown(comparison: Comparison) -> str:
    """Every table, with escaped names."""
    stamps = (f"**{in_markdown(stamp)}**" for stamp in comparison.stamps)
    return "\n\n".join((*stamps, *(markdown_table(*cells) for cells in _all_cells(comparison))))


def as_latex(comparison: Comparison) -> str:
    """Every table as `tabular` with the rules of booktabs."""
    stamps = (rf"\textbf{{{in_latex(stamp)}}}\par" for stamp in comparison.stamps)
    return "\n\n".join((*stamps, *(latex_table(*cells) for cells in _all_cells(comparison))))


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
            decimal(row["probability_of_improvement"], 2),
            p_value(row["mapsswe_p"]),
            p_value(row["mcnemar_p"]),
            p_value(row["wilcoxon_p"]),
            row["verdict"],
        ]
        for row in comparison.pairs.to_dict("records")
    ]
    return header, rows


def group_cells(groups: pd.DataFrame) -> Cells:
    """The rate of each system in each group, with its interval, in percent."""
    systems = list(dict.fromkeys(groups["system"]))
    attribute = str(groups["attribute"].iloc[0])
    header = [attribute, "utterances", "speakers", "words"]
    for name in systems:
        header += [f"{name} WER %", "95 %"]
    rows = []
    for group, table in groups.groupby("group", sort=False):
        first = table.iloc[0]
        sizes = (first["num_utterances"], first["num_speakers"], first["num_ref_words"])
        row = [str(group), *(f"{size:,.0f}" for size in sizes)]
        for found in table.to_dict("records"):
            row += [bare_percent(found["wer"]), interval(found["low"], found["high"])]
        rows.append(row)
    return header, rows


def gain_cells(gains: pd.DataFrame) -> Cells:
    """Differences in points of WER inside each group and elsewhere, and whether they differ."""
    header = ["pair", "group", "ΔWER inside", "ΔWER elsewhere", "interval of inside − elsewhere",
              "level %", "p (Holm)", "gain"]  # fmt: skip
    rows = [
        [
            f"{row['a']} : {row['b']}",
            row["group"],
            points(row["delta_inside"]),
            points(row["delta_outside"]),
            interval(row["low"], row["high"], points),
            bare_percent(row["coverage"]),
            p_value(row["p_adjusted"]),
            "differs by group" if row["differs"] else "no difference found",
        ]
        for row in gains.to_dict("records")
    ]
    return header, rows


def _all_cells(comparison: Comparison) -> list[Cells]:
    found = [system_cells(comparison), pair_cells(comparison)]
    if comparison.groups is not None:
        found.append(group_cells(comparison.groups))
    if comparison.gains is not None and len(comparison.gains):
        found.append(gain_cells(comparison.gains))
    return found


def matrix_cells(comparison: Comparison) -> Cells:
    """The WER of each row's system minus that of each column's, in points; with a star if the
    verdict is that they differ, "=" if they are equivalent."""
    names = list(comparison.systems["name"])
    found: dict[tuple[str, str], str] = {}
    # A pair fills two cells: WER of b minus WER of a in the row of b, its opposite in that of a.
    for row in comparison.pairs.to_dict("records"):
        mark = "*" if differ(row["verdict"]) else "=" if "equivalent" in row["verdict"] else ""
        found[row["b"], row["a"]] = points(row["delta_wer"]) + mark
        found[row["a"], row["b"]] = points(-row["delta_wer"]) + mark
    rows = [[name, *(found.get((name, other), "") for other in names)] for name in names]
    return ["", *names], rows


def verdicts(comparison: Comparison) -> Sequence[str]:
    """A sentence for each pair, claims first."""
    rows = rows_of(comparison.pairs, PairColumns)
    return [sentence_of(row) for row in sorted(rows, key=lambda row: not row["claim"])]


def _plain(row: dict[object, object]) -> dict[str, object]:
    """`row` with plain values for JSON; None for NaN and infinity."""
    made: dict[str, object] = {}
    for key, value in row.items():
        plain = value.item() if hasattr(value, "item") else value
        unknown = isinstance(plain, float) and not math.isfinite(plain)
        made[str(key)] = None if unknown else plain
    return made


def _nested(pair: dict[str, object]) -> dict[str, object]:
    """`pair` with an object for each test, as of `mapsswe_z`, and for each kind of interval, as of
    `speakers_low`."""
    made: dict[str, object] = {}
    for key, value in pair.items():
        test, _, figure = key.partition("_")
        if test in ("utterances", "speakers", "mapsswe", "mcnemar", "wilcoxon") and (
            figure != "needed"
        ):
            inner = made.setdefault(test, {})
            assert isinstance(inner, dict)
            inner[figure] = value
        else:
            made[key] = value
    return made
