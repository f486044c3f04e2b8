"""How the numbers are made, with sources, thresholds and limits."""

from dataclasses import dataclass

from reports.input import ReportInput
from reports.markup import render

TITLE = "Method and limits"


@dataclass(frozen=True)
class Numbers:
    """The constants behind the page."""

    level: float
    alpha: float
    power: float
    margin: float
    num_replicates: int
    fewest_linearised: int
    fewest_seeds: int
    """Confirm runs of the variant that has the fewest; 0 if none is scored."""
    num_speakers: int
    num_pairs: int
    num_claims: int
    budget: str


def numbers(report_input: ReportInput) -> Numbers:
    """The thresholds, from the code that applied them, and what the study has of each thing."""
    method = report_input.design["method"]
    seeds = report_input.variants["num_seeds"]
    return Numbers(
        level=float(method["level"]),
        alpha=float(method["alpha"]),
        power=float(method["power"]),
        margin=float(method["margin"]),
        num_replicates=int(method["num_replicates"]),
        fewest_linearised=int(method["fewest_linearised"]),
        fewest_seeds=int(seeds.min()) if len(seeds) else 0,
        num_speakers=int(report_input.utterances["speaker"].nunique()),
        num_pairs=len(report_input.pairs),
        num_claims=int(report_input.pairs["claim"].sum()),
        budget=str(report_input.budget.get("name", "")),
    )


def html(numbers: Numbers) -> str:
    """The section as markup."""
    return render("sections/method.html", numbers=numbers)
