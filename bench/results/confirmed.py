"""The confirm runs of a study that count in its comparison: every planned one that has ended."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from bench.results.counts import SystemRuns
from bench.results.pairs import ENDED_BADLY, nothing_recognised
from bench.results.search import search_edges
from bench.runs import Tables
from bench.runs.layout import ScoreLine, read_lines
from bench.study.definition import StudyDefinition


def confirm_runs(
    definition: StudyDefinition, tables: Tables, seeds: Mapping[str, int] | None = None
) -> tuple[list[SystemRuns], tuple[str, ...]]:
    """The ended confirm runs of each system, utterances in one order; and a sentence for each
    system with runs that ended badly, on what they count with. `seeds` says by label how many of
    the runs count, by slot; None: all."""
    utterances = tables.utterances.sort_values(["run", "id"])
    scored = {str(run): table for run, table in utterances.groupby("run")}
    if not scored:
        return [], ()
    any_run = next(iter(scored.values()))
    confirms = tables.runs[tables.runs["kind"] == "confirm"]
    system_runs, sentences = [], []
    edges = search_edges(definition, tables.runs)
    for label in definition.systems:
        own = confirms[confirms["system"] == label].sort_values(["slot", "run"])
        if seeds is not None:
            own = own[own["slot"] < seeds[label]]
        good = [scored[run] for run in own["run"] if run in scored]
        if not good:
            continue  # of a system without a single scored run nothing can be said
        is_scored, is_bad = own["run"].isin(list(scored)), own["state"].isin(ENDED_BADLY)
        lost, early = own[~is_scored & is_bad], own[is_scored & (own["state"] == "failed")]
        bad = [nothing_recognised(any_run) for _ in range(len(lost))]
        # Scored runs first: the tests of single checkpoints take the first run of each system.
        system_runs.append(SystemRuns(name=label, runs=(*good, *bad), edges=edges[label]))
        of = f"of {len(good) + len(bad)} confirm runs of {label}"
        if bad:
            ends = ", ".join(lost["state"])
            sentences.append(
                f"{len(bad)} {of} left no checkpoint to score ({ends}) and count with a WER of "
                "100 %"
            )
        if len(early):
            sentences.append(f"{len(early)} {of} failed and count with their last checkpoint")
    return system_runs, tuple(sentences)


def scored_again(tables: Tables, file_of: Callable[[str], Path]) -> pd.DataFrame:
    """A table like `Tables.utterances`, of other scores of the confirm runs: by another decoder, or
    under a test condition. `file_of` gives the file with those of a run."""
    confirms = tables.runs[tables.runs["kind"] == "confirm"]
    rows = [
        {**line, "run": run, "system": system, "seed": seed}
        for run, system, seed in confirms[["run", "system", "seed"]].itertuples(index=False)
        for line in read_lines(file_of(str(run)), ScoreLine)
    ]
    return pd.DataFrame(rows, columns=list(tables.utterances.columns))
