"""How the numbers are made, with sources, thresholds and limits."""

from dataclasses import dataclass

from reports.input import MethodConstants, ReportInput

TITLE = "Method and limits"


@dataclass(frozen=True)
class Numbers:
    """The constants behind the page, and the sizes of the study."""

    method: MethodConstants
    fewest_seeds: int
    """Confirm runs of the system that has the fewest; 0 if none is scored."""
    num_speakers: int
    num_pairs: int
    num_claims: int
    budget: str


def numbers(report_input: ReportInput) -> Numbers:
    """The constants, and the numbers of seeds, speakers, pairs and claims."""
    seeds = report_input.systems["num_seeds"]
    return Numbers(
        method=report_input.design.method,
        fewest_seeds=int(seeds.min()) if len(seeds) else 0,
        num_speakers=int(report_input.utterances["speaker"].nunique()),
        num_pairs=len(report_input.pairs),
        num_claims=int(report_input.pairs["claim"].sum()),
        budget=report_input.budget.name,
    )
