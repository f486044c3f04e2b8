"""The rates and verdicts of systems, computed in one place for a study's report and bench.compare:
with the same runs, claims, margin and looks both have the same numbers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.core.console import ProgressCallback
from bench.results.looks import PlannedLooks
from bench.results.pairs import Claims, SystemRuns, compare_pairs, summarise
from bench.results.sentences import UNDECIDED
from bench.stats.verdict import MARGIN


def judged(
    system_runs: Sequence[SystemRuns],
    rng: np.random.Generator,
    claims: Claims = (),
    margin: float = MARGIN,
    planned: PlannedLooks | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of `summarise` and `compare_pairs`; pairs of a study with `planned` looks are
    decided by these alone.

    Raises:
        UserError: fewer than two utterances.
    """
    systems = summarise(system_runs, rng)
    if planned is None or len(system_runs) < 2:
        return systems, compare_pairs(system_runs, rng, claims, margin, progress)
    decided = planned.decisions(system_runs, rng)
    pairs = compare_pairs(system_runs, rng, claims, margin, progress, decided)
    if not planned.is_over:
        going = pairs["verdict"] == UNDECIDED
        number = len(planned.looks) + 1
        pairs.loc[going, "remedy"] = f"look {number} of the plan has not been taken"
        pairs.loc[going, ["seeds_needed", "speakers_needed"]] = np.nan
    return systems, pairs
