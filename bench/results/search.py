"""The search of a study: its best value as a function of trials spent, and ranges that were too
narrow."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from bench.runs.layout import read_run
from bench.runs.state import ENDS, TRAINED, RunEnd, State
from bench.stats.clusters import Floats
from bench.study.definition import StudyDefinition, run_folder
from bench.study.edges import edges
from bench.study.winner import trial_ends, winner
from reports.columns import COLUMNS


def expected_best(values_N: Floats, num_trials: int) -> float:
    """The expected lowest value of `num_trials` independent trials, at most the N that were run.

    Valid for independent trials only, as in random search. The unbiased estimator, which draws
    without replacement (Dodge et al., Findings of EMNLP 2021). A trial without a value (NaN) counts
    as worse than all others; if all trials drawn can be such, the expectation is infinite.
    """
    values_N = np.sort(np.where(np.isnan(values_N), np.inf, values_N))
    size = values_N.size
    assert 1 <= num_trials <= size, f"{num_trials} of {size} trials cannot be drawn"
    # The probability that all draws have rank i or higher (0 the lowest value), i = 0 … N. The
    # differences of successive ones are the probabilities that rank i is the minimum.
    # Drawn without replacement, n of N: the product over k < n of (N - i - k) / (N - k).
    left = size - np.arange(size + 1)[:, None] - np.arange(num_trials)
    reached = np.clip(left / (size - np.arange(num_trials)), 0, None).prod(axis=1)
    weights = reached[:-1] - reached[1:]
    return float((values_N[weights > 0] * weights[weights > 0]).sum())


def rank_agreement(a_N: Floats, b_N: Floats) -> float:
    """Kendall's tau-b of two rankings of N trials: 1 if they agree, -1 if they are opposite."""
    return float(kendalltau(a_N, b_N).statistic)


def budget_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """The table of reports.columns.BudgetCurveColumns. Only trials that trained to the end of the
    budget can be best, as in the study; others count with their time."""
    rows = []
    for system, trials in _ended(runs).groupby("system", sort=False):
        values_N = trials["valid_wer"].where(trials["state"].isin(TRAINED)).to_numpy(np.float64)
        spent_N = trials["train_seconds"].fillna(0.0).cumsum()
        # fmin ignores NaN: a trial without a value keeps the lowest of those before it.
        found = zip(spent_N, np.fmin.accumulate(values_N), strict=True)
        rows += [(system, n, seconds, best) for n, (seconds, best) in enumerate(found, start=1)]
    return pd.DataFrame(rows, columns=list(COLUMNS["budget_curves"]))


def expected_best_curves(runs: pd.DataFrame, num_random: int) -> pd.DataFrame:
    """The table of reports.columns.ExpectedBestColumns, of slots 1 to `num_random` - 1 of each
    system's search, the only independent random ones: slot 0 has the default values, and later
    slots are proposed from earlier results. A trial without a WER counts as worse than all others.
    """
    rows = []
    ended = _ended(runs)
    for system, trials in ended[ended["slot"].between(1, num_random - 1)].groupby("system"):
        values_N = trials["valid_wer"].where(trials["state"].isin(TRAINED)).to_numpy(np.float64)
        for n in range(1, len(values_N) + 1):
            expected = expected_best(values_N, n)
            rows.append((system, n, expected if np.isfinite(expected) else np.nan))
    return pd.DataFrame(rows, columns=list(COLUMNS["expected_best"]))


def _ended(runs: pd.DataFrame) -> pd.DataFrame:
    """The trials that have ended for good, in the order in which they ended."""
    over = (runs["kind"] == "trial") & runs["state"].isin(ENDS)
    return runs[over].sort_values(["ended_at", "slot"], kind="stable")


def winners(definition: StudyDefinition, runs: pd.DataFrame) -> dict[str, int]:
    """By system, the slot of the trial whose setting its confirm runs have, or would have by now;
    without systems whose search has found none. `runs` are those of the study."""
    found = {}
    for label in definition.systems:
        own = runs[(runs["system"] == label) & (runs["kind"] == "trial")]
        ends = {
            slot: RunEnd(State(state), None if np.isnan(wer) else wer, num_epochs)
            for slot, state, wer, num_epochs in zip(
                own["slot"], own["state"], own["valid_wer"], own["num_epochs"], strict=True
            )
        }
        if (slot := winner(ends, definition.budget.rungs)) is not None:
            found[label] = slot
    return found


def search_edges(definition: StudyDefinition, runs: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """By system, where its search was too narrow, as `edges` says it."""
    found: dict[str, tuple[str, ...]] = dict.fromkeys(definition.systems, ())
    for label, slot in winners(definition, runs).items():
        trials = runs[(runs["system"] == label) & (runs["kind"] == "trial")]
        params = trials.loc[trials["slot"] == slot, "params"].iloc[0]
        found[label] = _edges(definition, label, params, slot)
    return found


def _edges(
    definition: StudyDefinition, label: str, params: Mapping[str, object], slot: int
) -> tuple[str, ...]:
    searched, files = definition.searched(label), definition.spaces[label].files
    return tuple(edges(label, searched, files, params, slot))


def narrow_systems(definition: StudyDefinition, folder: Path) -> frozenset[str]:
    """The systems of the study in `folder` whose searched ranges were too narrow, by label; reads
    the records of its trials alone."""
    narrow = set()
    for label in definition.systems:
        slot = winner(trial_ends(folder, definition, label), definition.budget.rungs)
        if slot is None:
            continue
        params = read_run(run_folder(folder, label, "trial", slot))["params"]
        if _edges(definition, label, params, slot):
            narrow.add(label)
    return frozenset(narrow)
