"""All pairs of systems on the same utterances: estimates, tests, verdicts.

Every number comes from bench.stats. The verdict on a pair (different, equivalent or undecided)
follows from its confidence interval alone. MAPSSWE, McNemar's and Wilcoxon's tests compare single
checkpoints, the first run of each system, and are shown for reference.

Legend: S runs, U utterances, C clusters (speakers), V systems, P pairs.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import TypedDict

import numpy as np
import pandas as pd

from bench.core.console import ProgressCallback
from bench.results.counts import Counts, SystemRuns, counts_of, error_slots
from bench.results.sentences import (
    CHECKPOINTS_DIFFER,
    CHECKPOINTS_EQUIVALENT,
    EQUIVALENT,
    UNDECIDED,
    WITHHELD,
    Undecided,
    remedy_of,
    who_is_better,
)
from bench.stats.clusters import Bools, Floats
from bench.stats.intervals import log_interval, plain_intervals, standard_errors, wilson_interval
from bench.stats.looks import Decisions
from bench.stats.mapsswe import mapsswe
from bench.stats.paired_tests import Ranking, mcnemar, rank, wilcoxon
from bench.stats.variance import (
    SystemEstimates,
    enough_to_pool,
    pooled_variance,
    probability_of_improvement,
    rates,
)
from bench.stats.verdict import MARGIN, Remedy, Verdicts, judge, remedy
from reports.format import p_value


class RateColumns(TypedDict):
    """A row of the table of `summarise`."""

    name: str
    wer: float
    errors: int
    num_ref_words: int
    se_utterances: float
    se_speakers: float
    low: float
    high: float
    num_seeds: int
    se_from_seeds: float
    se_from_test_set: float
    se_from_interaction: float


SYSTEM_COLUMNS = tuple(RateColumns.__annotations__)
PAIR_COLUMNS = (
    "a", "b", "claim", "delta_wer", "low", "high", "coverage", "p", "p_adjusted", "margin",
    "verdict", "remedy", "minimum_detectable_effect", "seeds_needed", "speakers_needed",
    "probability_of_improvement", "share_seeds", "share_test_set", "share_interaction",
    "utterances_low", "utterances_high", "speakers_low", "speakers_high",
    "mapsswe_segments", "mapsswe_mean", "mapsswe_sd", "mapsswe_z", "mapsswe_p",
    "mcnemar_b", "mcnemar_c", "mcnemar_p", "wilcoxon_p",
)  # fmt: skip


ENDED_BADLY = ("diverged", "failed", "cut")
"""A confirm run with one of these states and no scored utterance counts as `nothing_recognised`."""


def nothing_recognised(run: pd.DataFrame) -> pd.DataFrame:
    """`run` with empty hypotheses and so a WER of 100 %, for a run that ended without a checkpoint
    to score."""
    return run.assign(hyp="", deletions=run["num_ref_words"], substitutions=0, insertions=0)


Claims = Collection[tuple[str, str]]
"""Pairs of names; before the study, the first was claimed to have the lower WER."""


def summarise(system_runs: Sequence[SystemRuns], rng: np.random.Generator) -> pd.DataFrame:
    """One row per system, with SYSTEM_COLUMNS. Rates are fractions.

    `wer` is the mean over runs; `errors` and `num_ref_words` are sums over runs. `se_utterances`
    and `se_speakers` are standard errors over utterances and over speakers, with the runs fixed.
    `low, high` is the 95 % interval over seeds and speakers, on the log scale; for a system without
    errors it is Wilson's over utterances. `se_from_seeds`, `se_from_test_set` and
    `se_from_interaction` are the components of its standard error, which add up in squares; NaN if
    unknown. For a system with a single run, the variance between seeds is that pooled over the
    other systems, if they have several runs.

    Raises:
        UserError: fewer than two utterances.
    """
    if not system_runs:
        return pd.DataFrame(columns=list(SYSTEM_COLUMNS))
    counts = counts_of(system_runs)
    systems = counts.estimates(rng)
    split = rates(systems)
    means_VU = np.stack([errors_SU.mean(axis=0) for errors_SU in counts.errors])
    by_utterance = standard_errors(means_VU, counts.words_U, rng)
    by_speaker = standard_errors(counts.mean_by_speaker(), counts.words_by_speaker(), rng)
    rows = []
    for i, system in enumerate(system_runs):
        wer, variance = float(systems.wer[i]), split.total[i]
        # The logarithm of zero errors has no interval; Wilson's does, though it ignores speakers.
        low, high = np.nan, np.nan
        if wer == 0:
            low, high = wilson_interval(0, counts.words_U.size)
        elif np.isfinite(variance.variance):
            df = float(variance.degrees_of_freedom)
            low, high = log_interval(wer, float(np.sqrt(variance.variance)), df)
        parts = (split.by_seeds, split.by_test_set, split.by_interaction)
        row = (
            system.name, wer, int(counts.errors[i].sum()),
            int(counts.words_U.sum()) * len(system.runs), by_utterance[i], by_speaker[i],
            low, high, len(system.runs), *(float(np.sqrt(part[i])) for part in parts),
        )  # fmt: skip
        rows.append(dict(zip(SYSTEM_COLUMNS, row, strict=True)))
    return pd.DataFrame(rows, columns=list(SYSTEM_COLUMNS))


def compare_pairs(
    system_runs: Sequence[SystemRuns],
    rng: np.random.Generator,
    claims: Claims = (),
    margin: float = MARGIN,
    progress: ProgressCallback | None = None,
    decided: Decisions | None = None,
) -> pd.DataFrame:
    """One row per unordered pair, with PAIR_COLUMNS: those of reports.columns.PairColumns, and

    - `seeds_needed`, `speakers_needed`: runs per system, or test speakers, with which an undecided
      pair would be decided with 80 % power if the true difference is the observed one; NaN if no
      number suffices;
    - `utterances_low` and so on: intervals over utterances and over speakers with the runs fixed,
      as other tools print them (Bisani & Ney 2004); too narrow for few speakers, and without the
      variance between seeds.

    `progress` is called for each system whose errors are aligned. `decided` holds what planned
    looks have found of the pairs, which then is what the first ten columns say.

    Raises:
        UserError: fewer than two utterances.
    """
    if len(system_runs) < 2:
        return pd.DataFrame(columns=list(PAIR_COLUMNS))
    counts = counts_of(system_runs)
    systems = counts.estimates(rng)
    claims_P = claimed_pairs([system.name for system in system_runs], claims)
    found = judge(systems, claims_P, margin) if decided is None else decided.verdicts(systems)
    plain = _plain_intervals(counts, rng)
    evidence = _evidence(system_runs, counts, progress)
    by_speaker, words_C = counts.errors_by_speaker(), counts.words_by_speaker()
    rows = []
    for place, (i, j) in enumerate(combinations(range(len(system_runs)), 2)):
        improvement = probability_of_improvement(by_speaker[i], by_speaker[j], words_C)
        judged = _judged(found, place, system_runs[i], system_runs[j], systems, margin)
        rows.append(
            {
                "a": system_runs[i].name,
                "b": system_runs[j].name,
                "claim": bool(claims_P[place]),
                "margin": margin,
                "probability_of_improvement": improvement,
                **judged,
                **plain[i, j],
                **evidence[i, j],
            }
        )
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def rank_over_speakers(system_runs: Sequence[SystemRuns]) -> Ranking:
    """Three or more systems ranked by their error rates on each speaker, means over runs."""
    counts = counts_of(system_runs)
    words_C = counts.words_by_speaker()
    said = words_C > 0
    return rank((counts.mean_by_speaker()[:, said] / words_C[said]).T)


def counts_by_speaker(system_runs: Sequence[SystemRuns]) -> tuple[tuple[Floats, ...], Floats]:
    """Word errors [S, C] of each system, and the reference words [C] of each speaker."""
    counts = counts_of(system_runs)
    return counts.errors_by_speaker(), counts.words_by_speaker()


def assumptions(system_runs: Sequence[SystemRuns]) -> Iterator[str]:
    """Assumptions behind the verdicts on these systems, a sentence each."""
    if len(system_runs) < 2 or len(system_runs[0].runs[0]) < 2:
        return
    if system_runs[0].runs[0]["speaker"].nunique() == 1:
        yield (
            "all utterances are of one speaker: intervals are over utterances and hold for this "
            "speaker only"
        )
    single = [system.name for system in system_runs if len(system.runs) == 1]
    if len(single) == len(system_runs):
        yield (
            "every system is a single run: verdicts are about these checkpoints; whether the "
            "recipes differ is unknown"
        )
    elif single:
        yield (
            f"{', '.join(single)}: a single run, so the variance between its seeds is unknown; "
            "the variance pooled over the other systems is used"
        )
    systems = counts_of(system_runs).estimates(np.random.default_rng(0))
    pool = pooled_variance(systems)
    repeated = [
        (o, calm) for o, calm in zip(system_runs, pool.is_calm, strict=True) if len(o.runs) > 1
    ]
    wild = [system.name for system, calm in repeated if not calm]
    if wild:
        yield (
            f"seeds scatter unequally (Cochran's test, p {p_value(float(pool.p_equal))}): "
            f"{', '.join(wild)} more than the rest; each pair is judged by the wider of the "
            "interval from its own seeds and that from the pooled variance of the rest"
        )
    elif len(repeated) > 2 and not enough_to_pool(systems):
        yield (
            "a system has two seeds only: each pair is judged by the wider of the interval from "
            "its own seeds and that from the variance pooled over all"
        )
    elif len(repeated) > 2:
        yield (
            f"the variance between seeds is pooled over {len(repeated)} systems (Cochran's test of "
            f"equal variances, p {p_value(float(pool.p_equal))})"
        )


def _judged(
    found: Verdicts,
    place: int,
    a: SystemRuns,
    b: SystemRuns,
    systems: SystemEstimates,
    margin: float,
) -> dict[str, object]:
    delta, half = float(found.estimate.value[place]), float(found.half_width[place])
    splits = [split.at(place) for split in found.splits]
    # A pair may be judged by two variance estimates, its own and the pooled one; the larger decides
    # (bench.stats.verdict), so its components say what limits the pair.
    widths = [float(np.nan_to_num(split.total.variance)) for split in splits]
    split = splits[int(np.argmax(widths))]
    verdict = _verdict(found, place, a, b, is_of_seeds=bool(np.isfinite(split.by_seeds)))
    needed = Remedy(None, None)
    if verdict == UNDECIDED and np.isfinite(split.total.variance):
        num_seeds = min(len(a.runs), len(b.runs))
        level = float(found.level[place])
        needed = remedy(delta, split, level, margin, num_seeds, systems.num_clusters)
    undecided = Undecided(
        p=float(found.p[place]),
        seeds_needed=np.nan if needed.num_seeds is None else float(needed.num_seeds),
        speakers_needed=np.nan if needed.num_clusters is None else float(needed.num_clusters),
        minimum_detectable_effect=float(found.minimum_detectable_effect[place]),
    )
    told = remedy_of(undecided) if verdict == UNDECIDED else ""
    if verdict == WITHHELD:
        told = "; ".join((*a.edges, *b.edges))
    total = float(split.total.variance)
    return {
        "delta_wer": delta,
        "low": delta - half,
        "high": delta + half,
        "coverage": float(found.coverage[place]),
        **asdict(undecided),
        "p_adjusted": float(found.p_adjusted[place]),
        "verdict": verdict,
        "remedy": told,
        "share_seeds": float(split.by_seeds) / total,
        "share_test_set": float(split.by_test_set) / total,
        "share_interaction": float(split.by_interaction) / total,
    }


def _verdict(
    found: Verdicts, place: int, a: SystemRuns, b: SystemRuns, *, is_of_seeds: bool
) -> str:
    """In words; of single runs (`is_of_seeds` is false) it is about their checkpoints."""
    if bool(found.equivalent[place]):
        return EQUIVALENT if is_of_seeds else CHECKPOINTS_EQUIVALENT
    if not bool(found.different[place]):
        return UNDECIDED
    if not is_of_seeds:
        return CHECKPOINTS_DIFFER
    narrow = {system.name for system in (a, b) if system.edges}
    return who_is_better(a.name, b.name, float(found.estimate.value[place]), narrow)


def claimed_pairs(names: Sequence[str], claims: Claims) -> Bools:
    """True [P] for pairs that are claims, in either order."""
    asked = {frozenset(pair) for pair in claims}
    return np.array([frozenset(pair) in asked for pair in combinations(names, 2)], dtype=np.bool_)


def _plain_intervals(
    counts: Counts, rng: np.random.Generator
) -> Mapping[tuple[int, int], dict[str, float]]:
    """Intervals of the difference of each pair over utterances and over speakers, with the runs
    fixed."""
    means_VU = np.stack([errors_SU.mean(axis=0) for errors_SU in counts.errors])
    over = {
        "utterances": plain_intervals(means_VU, counts.words_U, rng),
        "speakers": plain_intervals(counts.mean_by_speaker(), counts.words_by_speaker(), rng),
    }
    return {
        pair: {
            f"{what}_{end}": float(values[pair])
            for what, ends in over.items()
            for end, values in zip(("low", "high"), ends, strict=True)
        }
        for pair in combinations(range(len(counts.errors)), 2)
    }


def _evidence(
    system_runs: Sequence[SystemRuns], counts: Counts, progress: ProgressCallback | None
) -> Mapping[tuple[int, int], dict[str, float]]:
    """The tests between the first runs of each pair."""
    words_U, words_C = counts.words_U.astype(np.int64), counts.words_by_speaker()
    firsts = [system.runs[0] for system in system_runs]
    slots = []
    for number, run in enumerate(firsts):
        if progress is not None:
            progress(number, len(firsts))
        slots.append(error_slots(run["ref"].tolist(), run["hyp"].tolist()))
    # Of the first runs only: these tests take two networks as they are.
    right = [errors_SU[0] == 0 for errors_SU in counts.errors]
    said = words_C > 0  # without a reference word a speaker has no rate
    rates = [errors_SC[0, said] / words_C[said] for errors_SC in counts.errors_by_speaker()]
    found = {}
    for i, j in combinations(range(len(system_runs)), 2):
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
