"""Cautions on a comparison: planned comparisons without a verdict, limitations, and how often the
test set has been scored."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.data.utterance import task_digest
from bench.results.progress import ProgressReader
from bench.runs import read_study
from bench.runs.layout import OPENED, RUN, read_json
from bench.study.definition import load
from bench.study.rounds import confirm_seeds, raised_sentence, read_looks
from reports.sections.verdict import FEW_SEEDS


def without_verdict(labels: Iterable[str], runs: pd.DataFrame) -> str:
    """One sentence on the systems without a verdict, since none of their confirm runs was scored;
    "" if there are none.

    `runs` are those of the study (bench.runs.reader.TABLES).
    """
    scored = set(runs.loc[(runs["kind"] == "confirm") & runs["test_wer"].notna(), "system"])
    silent = [label for label in labels if label not in scored]
    if not silent:
        return ""
    own = {label: runs[runs["system"] == label] for label in silent}
    ends = "; ".join(f"{label}: {_ends(own[label]) or 'no run began'}" for label in silent)
    return f"no verdict can be given on {', '.join(silent)}: no confirm run was scored ({ends})"


def study_cautions(folder: Path) -> tuple[str, ...]:
    """Limitations of a comparison of the study in `folder`, a sentence each: runs that were not
    scored, few seeds, utterances that were left out."""
    definition, tables = load(folder), read_study(folder)
    confirms = tables.runs[tables.runs["kind"] == "confirm"]
    planned, found = confirm_seeds(definition, read_looks(folder)), []
    seeds = dict.fromkeys(definition.systems, 0)
    for label in seeds:
        own = confirms[confirms["system"] == label]
        seeds[label] = int(own["run"].isin(tables.utterances["run"]).sum())
        if seeds[label] != planned[label]:
            ends = _ends(own) or "none began"
            scored = f"{seeds[label]} of {planned[label]} confirm runs scored"
            found.append(f"{folder.name}/{label}: {scored} ({ends})")
    fewest = min(filter(None, seeds.values()), default=0)
    if 0 < fewest < FEW_SEEDS:
        found.append(
            f"{folder.name}: an interval rests on {fewest} seed{'s' * (fewest > 1)} only; take it "
            "as a first look"
        )
    if stamp := raised_sentence(definition):
        found.insert(0, f"{folder.name}: {stamp}")
    if definition.excluded:
        found.append(
            f"{folder.name}: {len(definition.excluded)} utterances were left out: fewer output "
            "frames than CTC needs in some system"
        )
    return tuple(found)


def study_without_verdict(folder: Path) -> str:
    """`without_verdict` of the study in `folder`, and whether it is over; "" if it has verdicts."""
    definition = load(folder)
    sentence = without_verdict(definition.systems, read_study(folder).runs)
    if not sentence:
        return ""
    if ProgressReader(folder).read().is_over:
        return f"study {folder.name} is over, and {sentence}"
    return f"study {folder.name} is not over, and {sentence}; its sweep's command goes on with it"


def _ends(runs: pd.DataFrame) -> str:
    """The number of runs of each kind and state, in words."""
    told = []
    for kind, name in (("trial", "trials"), ("confirm", "confirm runs")):
        states = Counter(runs.loc[runs["kind"] == kind, "state"])
        told += [f"{count} of {states.total()} {name} {state}" for state, count in states.items()]
    return ", ".join(told)


def openings_sentence(results: Path, data_digest: str) -> str:
    """How often the test set of the corpus `data_digest` has been scored, over every study in
    `results` and whatever was joined to that corpus for training; "" if never.

    Choices made after many evaluations on one test set are fitted to that test set.
    """
    by_study: dict[str, int] = {}
    for path in sorted(results.glob(f"*/runs/*/*/{OPENED}")):
        try:
            run = read_json(path.parent / RUN) or {}
        except UserError:
            continue  # a damaged record of another study, which its own report names
        if task_digest(str(run.get("data_digest"))) == task_digest(data_digest):
            study = path.relative_to(results).parts[0]
            by_study[study] = by_study.get(study, 0) + len(path.read_text().splitlines())
    if not by_study:
        return ""
    total, num = sum(by_study.values()), len(by_study)
    studies = "this study alone" if num == 1 else f"{num} studies of {results.name}"
    return f"this test set has been scored {total:,} times by the runs of {studies}"
