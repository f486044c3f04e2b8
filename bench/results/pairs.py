"""All pairs of systems on the same utterances: estimates, tests, verdicts.

Intervals and p are those of the two-way bootstrap (bench.results.two_way), with p adjusted over the
pairs after Holm. MAPSSWE, McNemar's and Wilcoxon's tests stand beside them as evidence for single
checkpoints: the first run of each system.

Legend: S runs, U utterances, C clusters (speakers), M runs of all systems, R replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import UserError
from bench.results.bootstrap import (
    Floats,
    cluster_sums,
    percentile_interval,
    resampled_rates,
    standard_error,
)
from bench.results.mapsswe import error_slots, mapsswe
from bench.results.significance import ALPHA, Ranking, holm, mcnemar, rank, wilcoxon
from bench.results.two_way import (
    Estimate,
    Recipe,
    all_differences,
    probability_of_improvement,
    rate,
    resample_recipes,
)

NOT_SEPARATED = "not separated"

SYSTEM_COLUMNS = (
    "name", "wer", "errors", "num_ref_words", "se_utterances", "se_speakers", "low", "high",
    "num_seeds", "se_from_seeds", "se_from_test_set", "se_from_interaction", "se_from_search",
)  # fmt: skip
PAIR_COLUMNS = (
    "a", "b", "delta_wer", "low", "high", "p", "p_adjusted", "probability_of_improvement",
    "smallest_gap", "utterances_low", "utterances_high", "speakers_low", "speakers_high",
    "share_seeds", "share_test_set", "share_interaction", "share_search",
    "mapsswe_segments", "mapsswe_mean", "mapsswe_sd", "mapsswe_z", "mapsswe_p",
    "mcnemar_b", "mcnemar_c", "mcnemar_p", "wilcoxon_p", "verdict",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one system (a variant, or a system from elsewhere) did on the common utterances."""

    name: str
    runs: tuple[pd.DataFrame, ...]
    """One frame a seed, with columns `id, speaker, num_ref_words, substitutions, deletions,
    insertions, ref, hyp`; the same ids in the same order in every run of every system."""
    searches: tuple[str, ...] = ()
    """The search that each run has its settings from; empty if it is one and the same."""


def summarise(outcomes: Sequence[Outcome], rng: np.random.Generator) -> pd.DataFrame:
    """One row a system, with SYSTEM_COLUMNS. Rates are fractions.

    `wer` is the mean over runs, `errors` and `num_ref_words` are sums over them. `se_utterances`
    and `se_speakers` are plain bootstrap standard errors of these very runs over utterances and
    over speakers. `low, high` is the 95 % interval over seeds and speakers together; the parts of
    the standard error behind it, `se_from_seeds` and its like, add up in squares, and are NaN where
    a source cannot be seen: the seeds of a single run, the luck of a single search.

    Raises:
        UserError: fewer than two utterances.
    """
    if not outcomes:
        return pd.DataFrame(columns=list(SYSTEM_COLUMNS))
    counts = _counts(outcomes)
    recipes = _recipes(outcomes, counts, rng)
    by_utterance = _standard_errors(counts.errors, counts.words_U, rng)
    by_speaker = _standard_errors(counts.errors_by_speaker(), counts.words_by_speaker(), rng)
    rows = []
    for i, outcome in enumerate(outcomes):
        interval = rate(recipes[i])
        rows.append(
            {
                "name": outcome.name,
                "wer": interval.value,
                "errors": int(counts.errors[i].sum()),
                "num_ref_words": int(counts.words_U.sum()) * len(outcome.runs),
                "se_utterances": by_utterance[i],
                "se_speakers": by_speaker[i],
                "low": max(0.0, interval.low),
                "high": interval.high,
                "num_seeds": len(outcome.runs),
                **_parts(interval, len(outcome.runs)),
            }
        )
    return pd.DataFrame(rows, columns=list(SYSTEM_COLUMNS))


def compare_pairs(outcomes: Sequence[Outcome], rng: np.random.Generator) -> pd.DataFrame:
    """One row an unordered pair, with PAIR_COLUMNS.

    `delta_wer` is WER of `b` minus WER of `a`: above zero, `a` is better. `low, high` is its 95 %
    interval and `p` belongs to that interval; `p_adjusted` is Holm's over all pairs, and `verdict`
    reads "<name> better" where it is below 5 %, else "not separated". `smallest_gap` is the
    difference that would be found with 80 % power. The shares split the variance of `delta_wer`.
    `utterances_low` and its like are the percentile bootstrap of these very runs over utterances,
    over speakers, as other tools print it (Bisani & Ney 2004): too narrow for few speakers, and
    silent about seeds.

    Where both systems have a single run, runs are not resampled: the interval is over speakers, and
    the difference is one of two checkpoints, not of two recipes.

    Raises:
        UserError: fewer than two utterances.
    """
    if len(outcomes) < 2:
        return pd.DataFrame(columns=list(PAIR_COLUMNS))
    counts = _counts(outcomes)
    recipes = _recipes(outcomes, counts, rng)
    differences = all_differences(recipes)
    adjusted = holm([cautious for _, cautious in differences.values()])
    plain = _plain_intervals(counts, rng)
    evidence = _evidence(outcomes, counts)
    rows = []
    for ((i, j), (found, _)), p_adjusted in zip(differences.items(), adjusted, strict=True):
        a, b = outcomes[i].name, outcomes[j].name
        better = a if found.value > 0 else b
        rows.append(
            {
                "a": a,
                "b": b,
                **_columns(found, recipes[i], recipes[j]),
                "p_adjusted": p_adjusted,
                **plain[i, j],
                **evidence[i, j],
                "verdict": f"{better} better" if p_adjusted < ALPHA else NOT_SEPARATED,
            }
        )
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def rank_over_speakers(outcomes: Sequence[Outcome]) -> Ranking:
    """Three systems or more, ranked by their error rates on each speaker, means over runs."""
    errors, words_C = counts_by_speaker(outcomes)
    return rank(np.stack([errors_SC.mean(axis=0) / words_C for errors_SC in errors], axis=1))


def counts_by_speaker(outcomes: Sequence[Outcome]) -> tuple[tuple[Floats, ...], Floats]:
    """Word errors [S, C] of each system, and the reference words [C] of each speaker."""
    counts = _counts(outcomes)
    return counts.errors_by_speaker(), counts.words_by_speaker()


def _parts(found: Estimate, num_runs: int) -> dict[str, float]:
    """The standard error by its sources."""
    shares = {
        "se_from_seeds": found.from_seeds if num_runs > 1 else np.nan,
        "se_from_test_set": found.from_test_set,
        "se_from_interaction": found.from_interaction if num_runs > 1 else np.nan,
        "se_from_search": found.from_search,
    }
    return {key: float(np.sqrt(s * found.total.variance)) for key, s in shares.items()}


def _columns(found: Estimate, a: Recipe, b: Recipe) -> dict[str, float]:
    return {
        "delta_wer": found.value,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "probability_of_improvement": probability_of_improvement(a, b),
        "smallest_gap": found.smallest_gap,
        "share_seeds": found.from_seeds,
        "share_test_set": found.from_test_set,
        "share_interaction": found.from_interaction,
        "share_search": found.from_search,
    }


@dataclass(frozen=True)
class _Counts:
    """Errors and words of the common utterances."""

    errors: tuple[Floats, ...]
    """[S, U] of each system."""
    words_U: Floats
    clusters: NDArray[np.str_]
    """The speaker of each utterance; of a single speaker, the utterance itself."""

    def errors_by_speaker(self) -> tuple[Floats, ...]:
        return tuple(cluster_sums(errors_SU, self.clusters) for errors_SU in self.errors)

    def words_by_speaker(self) -> Floats:
        sums: Floats = cluster_sums(self.words_U[None], self.clusters)[0]
        return sums


def _counts(outcomes: Sequence[Outcome]) -> _Counts:
    first = outcomes[0].runs[0]
    if len(first) < 2:
        raise UserError(
            f"a comparison needs two utterances or more that all systems read, got {len(first)}; "
            "check that their ids are the same"
        )
    for outcome in outcomes:
        for run in outcome.runs:
            assert run["id"].tolist() == first["id"].tolist(), f"{outcome.name}: other utterances"
    speakers = first["speaker"].to_numpy(dtype=np.str_)
    alone = len(set(speakers)) == 1
    return _Counts(
        errors=tuple(np.stack([_errors(run) for run in o.runs]) for o in outcomes),
        words_U=first["num_ref_words"].to_numpy(dtype=np.float64),
        clusters=first["id"].to_numpy(dtype=np.str_) if alone else speakers,
    )


def _errors(run: pd.DataFrame) -> Floats:
    counted = run["substitutions"] + run["deletions"] + run["insertions"]
    errors_U: Floats = counted.to_numpy(dtype=np.float64)
    return errors_U


def _recipes(
    outcomes: Sequence[Outcome], counts: _Counts, rng: np.random.Generator
) -> list[Recipe]:
    searches = [o.searches or ("",) * len(o.runs) for o in outcomes]
    return resample_recipes(
        counts.errors_by_speaker(), counts.words_by_speaker(), rng, searches=searches
    )


def _standard_errors(
    errors: Sequence[Floats], words_C: Floats, rng: np.random.Generator
) -> list[float]:
    means_MC = np.stack([errors_SC.mean(axis=0) for errors_SC in errors])
    return [standard_error(rates_R) for rates_R in resampled_rates(means_MC, words_C, rng).T]


def _plain_intervals(
    counts: _Counts, rng: np.random.Generator
) -> Mapping[tuple[int, int], dict[str, float]]:
    """Of the difference of each pair over utterances and over speakers, the runs as they are."""
    over = {
        "utterances": (counts.errors, counts.words_U),
        "speakers": (counts.errors_by_speaker(), counts.words_by_speaker()),
    }
    found: dict[tuple[int, int], dict[str, float]] = {}
    for what, (errors, words_C) in over.items():
        means_MC = np.stack([errors_SC.mean(axis=0) for errors_SC in errors])
        rates_RM = resampled_rates(means_MC, words_C, rng)
        for i, j in combinations(range(len(errors)), 2):
            low, high = percentile_interval(rates_RM[:, j] - rates_RM[:, i])
            found.setdefault((i, j), {}).update({f"{what}_low": low, f"{what}_high": high})
    return found


def _evidence(
    outcomes: Sequence[Outcome], counts: _Counts
) -> Mapping[tuple[int, int], dict[str, Any]]:
    """The tests between the first runs of each pair."""
    words_U, words_C = counts.words_U.astype(np.int64), counts.words_by_speaker()
    firsts = [outcome.runs[0] for outcome in outcomes]
    slots = [error_slots(run["ref"].tolist(), run["hyp"].tolist()) for run in firsts]
    right = [errors_SU[0] == 0 for errors_SU in counts.errors]
    rates = [errors_SC[0] / words_C for errors_SC in counts.errors_by_speaker()]
    found = {}
    for i, j in combinations(range(len(outcomes)), 2):
        segments, sentences = mapsswe(slots[i], slots[j], words_U), mcnemar(right[i], right[j])
        found[i, j] = {
            "mapsswe_segments": segments.segments,
            "mapsswe_mean": segments.mean,
            "mapsswe_sd": segments.sd,
            "mapsswe_z": segments.z,
            "mapsswe_p": segments.p,
            "mcnemar_b": sentences.b,
            "mcnemar_c": sentences.c,
            "mcnemar_p": sentences.p,
            "wilcoxon_p": wilcoxon(rates[i], rates[j]),
        }
    return found
