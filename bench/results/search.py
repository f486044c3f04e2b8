"""The search of a study: its best value as a function of trials spent, and ranges that were too
narrow."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from bench.runs.layout import read_run
from bench.runs.state import ENDS, TRAINED, read_end
from bench.stats.clusters import Floats
from bench.study.definition import StudyDefinition, run_folder
from bench.study.edges import edges
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


def search_edges(definition: StudyDefinition, label: str, runs: pd.DataFrame) -> tuple[str, ...]:
    """Where the search of the system `label` was too narrow, as `Edge.sentence` says it.

    `runs` are those of the study (bench.runs.reader.COLUMNS). The best trial is the one of lowest
    valid WER among those that trained as far as the budget goes, the earlier of equals.
    """
    own = runs[(runs["system"] == label) & (runs["kind"] == "trial")]
    trained = own[own["state"].isin(TRAINED) & own["valid_wer"].notna()]
    if trained.empty:
        return ()
    best = trained.sort_values(["valid_wer", "slot"], kind="stable").iloc[0]
    searched, files = definition.searched(label), definition.spaces[label].files
    found = edges(searched, files, best["params"], int(best["slot"]))
    return tuple(edge.sentence(label) for edge in found)


def narrow_systems(definition: StudyDefinition, folder: Path) -> frozenset[str]:
    """The systems of the study in `folder` whose searched ranges were too narrow, by label; reads
    the records of its trials alone."""
    rows = []
    for label in definition.systems:
        for slot in range(definition.budget.num_trials):
            trial = run_folder(folder, label, "trial", slot)
            if (end := read_end(trial)) is None:
                continue
            params = read_run(trial)["params"]
            rows.append((label, "trial", slot, end.state.value, end.valid_wer, params))
    columns = ["system", "kind", "slot", "state", "valid_wer", "params"]
    runs = pd.DataFrame(rows, columns=columns).astype({"valid_wer": float})
    return frozenset(label for label in definition.systems if search_edges(definition, label, runs))
