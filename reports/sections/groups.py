"""Error rates by attributes of utterances and speakers, and gains that differ by group."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.columns import GainColumns, GroupColumns, rows_of
from reports.input import ReportInput
from reports.palette import system_names
from reports.scale import Estimate

TITLE = "By group"


@dataclass(frozen=True)
class GroupRow:
    """One group; rates in the order of the systems."""

    group: str
    num_utterances: int
    num_speakers: int
    num_words: int
    wers: tuple[Estimate, ...]


class GainRow(GainColumns):
    """A gain as the table of gains has it."""

    contrast: Estimate
    """Inside minus outside."""


@dataclass(frozen=True)
class Attribute:
    """What utterances are grouped by."""

    name: str
    groups: tuple[GroupRow, ...]
    gains: tuple[GainRow, ...]

    @property
    def num_differing(self) -> int:
        """Number of gains that differ between a group and the rest."""
        return sum(row["differs"] for row in self.gains)


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    systems: tuple[str, ...]
    """Those that were scored."""
    attributes: tuple[Attribute, ...]


def numbers(report_input: ReportInput) -> Numbers:
    """Every attribute with its groups, in the order in which they were found."""
    groups, gains = report_input.groups, report_input.gains
    shown = [name for name in system_names(report_input) if name in set(groups["system"])]
    found = []
    for name, table in groups.groupby("attribute", sort=False):
        rows = tuple(
            _group(str(group), rows_of(own, GroupColumns), shown)
            for group, own in table.groupby("group", sort=False)
        )
        own_gains = rows_of(gains[gains["attribute"] == name], GainColumns)
        found.append(Attribute(str(name), rows, tuple(map(_gain, own_gains))))
    return Numbers(tuple(shown), tuple(found))


def _group(group: str, rows: Sequence[GroupColumns], shown: list[str]) -> GroupRow:
    by_system = {row["system"]: row for row in rows}
    first = rows[0]
    return GroupRow(
        group=group,
        num_utterances=int(first["num_utterances"]),
        num_speakers=int(first["num_speakers"]),
        num_words=int(first["num_ref_words"]),
        wers=tuple(
            Estimate(by_system[name]["wer"], by_system[name]["low"], by_system[name]["high"])
            for name in shown
        ),
    )


def _gain(row: GainColumns) -> GainRow:
    contrast = row["delta_inside"] - row["delta_outside"]
    return {
        **row,
        "contrast": Estimate(contrast, row["low"], row["high"]),
    }
