"""A ledger of test openings: how often the runs of a results folder have looked at a test set."""

from pathlib import Path

from bench.runs.record import RUN, read_json
from bench.runs.run import OPENED


def openings_sentence(results: Path, data_digest: str) -> str:
    """How often the test set of the corpus `data_digest` has been scored, over every study in
    `results`; "" if never.

    The more often a test set is looked at, the more what is chosen afterwards is chosen for it.
    """
    by_study: dict[str, int] = {}
    for path in sorted(results.glob(f"*/runs/*/*/{OPENED}")):
        run = read_json(path.parent / RUN) or {}
        if run.get("data_digest") == data_digest:
            study = path.relative_to(results).parts[0]
            by_study[study] = by_study.get(study, 0) + len(path.read_text().splitlines())
    if not by_study:
        return ""
    total, num = sum(by_study.values()), len(by_study)
    studies = "this study alone" if num == 1 else f"{num} studies of {results.name}"
    return f"this test set has been scored {total:,} times by the runs of {studies}"
