"""With a language model: the second verdict, what changed between the decoders, and which words."""

from dataclasses import dataclass

from reports.input import ReportInput
from reports.second import SecondVerdict

TITLE = "With a language model"


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    first: str
    """The verdict of greedy decoding."""
    second: SecondVerdict | None
    has_looks: bool
    """Whether greedy gaps are those of the look that decided them, perhaps with fewer seeds."""


def numbers(report_input: ReportInput) -> Numbers:
    """Both verdicts."""
    return Numbers(report_input.verdict, report_input.second, bool(report_input.looks))
