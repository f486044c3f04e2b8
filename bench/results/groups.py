"""Error rates by groups of utterances or speakers: by age, gender, accent, length.

Each group's rate has its interval over seeds and speakers. For each pair of systems and each group,
the difference inside the group is tested against that outside (the interaction of system and
group); these tests are a family of their own, adjusted after Holm.

Legend: U utterances.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.core.errors import UserError
from bench.core.lookup import near_names
from bench.data.utterance import SNR
from bench.results.counts import Counts, SystemRuns, counts_of
from bench.results.pairs import summarise
from bench.stats.clusters import Bools
from bench.stats.estimate import Estimate
from bench.stats.groups import contrasts
from bench.stats.multiplicity import holm
from bench.stats.variance import differences
from reports.columns import COLUMNS

LENGTH = "length"
"""The attribute that every comparison has: reference words of the utterance."""
MOST_NUMBERS, NUM_BINS, MOST_GROUPS = 6, 3, 12
"""Attributes with more than six different numbers are divided into three bins of similar size;
those with more than twelve names give no groups."""
UNNAMED = "unknown"

GROUP_COLUMNS = COLUMNS["groups"]
GAIN_COLUMNS = (*COLUMNS["gains"][:-2], "p", *COLUMNS["gains"][-2:])

Attributes = Mapping[str, Mapping[str, str]]
"""By utterance id what is known of the utterance and its speaker."""


def by_group(
    system_runs: Sequence[SystemRuns], attributes: Attributes, name: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rates of each group, with GROUP_COLUMNS, and the gains of each pair of systems by group,
    with GAIN_COLUMNS.

    Raises:
        UserError: the utterances have no attribute `name`, or it has one group only, or too many.
    """
    run = system_runs[0].runs[0]
    group_U = _groups(run, attributes, name)
    words = run["num_ref_words"].groupby(group_U).sum()
    # A group without a single reference word has no rate.
    names = sorted((str(group) for group in words.index[words > 0]), key=_in_order)
    if len(names) < 2:
        raise UserError(
            f"groups are compared with each other, but {name} is {next(iter(names), UNNAMED)!r} "
            "for every utterance; name another attribute"
        )
    if len(names) > MOST_GROUPS:
        raise UserError(
            f"groups are {MOST_GROUPS} at most, but {name} has {len(names)} values (such as "
            f"{names[0]!r}, {names[1]!r}); name another attribute"
        )
    rows = [
        (name, group, *row) for group in names for row in _rates_of(system_runs, group_U == group)
    ]
    gains = _gains(system_runs, group_U, names, name)
    return pd.DataFrame(rows, columns=list(GROUP_COLUMNS)), gains


def by_every_group(
    system_runs: Sequence[SystemRuns], attributes: Attributes
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same for every attribute that divides these utterances into two to twelve groups."""
    found = []
    for name in known_attributes(attributes) if system_runs else ():
        with suppress(UserError):
            found.append(by_group(system_runs, attributes, name))
    if not found:
        return pd.DataFrame(columns=list(GROUP_COLUMNS)), pd.DataFrame(columns=list(GAIN_COLUMNS))
    groups, gains = (pd.concat(tables, ignore_index=True) for tables in zip(*found, strict=True))
    return groups, gains


def known_attributes(attributes: Attributes) -> tuple[str, ...]:
    """Their names, in the order in which utterances have them."""
    return (LENGTH, *dict.fromkeys(name for own in attributes.values() for name in own))


def _groups(run: pd.DataFrame, attributes: Attributes, name: str) -> NDArray[np.str_]:
    """The group [U] of each utterance of `run`."""
    if name == LENGTH:
        values = [str(count) for count in run["num_ref_words"]]
        return _binned(values, "{} words")
    if name not in (known := known_attributes(attributes)):
        raise UserError(f"these utterances have no attribute {name!r}; {near_names(name, known)}")
    values = [attributes.get(str(id), {}).get(name, "") for id in run["id"]]
    return _binned(values, "{} dB" if name == SNR else "{}")


def _binned(values: Sequence[str], form: str) -> NDArray[np.str_]:
    """`values` as they are, or numbers of many values in bins with their ends as names."""
    numbers = [_number(value) for value in values]
    known = np.array([number for number in numbers if number is not None])
    # As they are: no number is known, a value is no number, or few differ. What has a unit (words,
    # dB) is always binned.
    if (
        not len(known)
        or any(n is None and value for n, value in zip(numbers, values, strict=True))
        or (len(set(known.tolist())) <= MOST_NUMBERS and form == "{}")
    ):
        return np.array([value or UNNAMED for value in values])
    # Edges are values that occur (inverted_cdf), and equal edges are merged: few different values
    # give fewer bins, none of them empty. A bin is named by the values in it.
    #
    #     values    1 1 1 2 | 3 4 5 5 | 6 8 9 9
    #     bins      "1 to 2"  "3 to 5"  "6 to 9"
    edges = np.quantile(known, np.arange(1, NUM_BINS) / NUM_BINS, method="inverted_cdf")
    bins = np.searchsorted(np.unique(edges), known)
    ends = {b: (known[bins == b].min(), known[bins == b].max()) for b in np.unique(bins)}
    # `bins` are those of the known numbers, in the order in which the last line takes them.
    named = iter(form.format(_range(*ends[b])) for b in bins)
    return np.array([UNNAMED if number is None else next(named) for number in numbers])


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _in_order(group: str) -> tuple[bool, float, str]:
    """Numbers by size, before names; unknown ones come last."""
    number = _number(group.split()[0]) if group.split() else None
    return group == UNNAMED, np.inf if number is None else number, group


def _rates_of(
    system_runs: Sequence[SystemRuns], inside_U: Bools
) -> list[tuple[str, float, float, float, int, int, int]]:
    """One row a system: name, rate, interval, and the size of the group. A group of one speaker has
    a rate and no interval, since the variance between its speakers is unknown."""
    first = system_runs[0].runs[0][inside_U]
    size = len(first), int(first["speaker"].nunique()), int(first["num_ref_words"].sum())
    if size[1] < 2:
        counts = counts_of(system_runs)
        rates = mean_rates(counts, inside_U)
        return [
            (o.name, rate, np.nan, np.nan, *size)
            for o, rate in zip(system_runs, rates, strict=True)
        ]
    parts = [
        SystemRuns(name=o.name, runs=tuple(run[inside_U].reset_index(drop=True) for run in o.runs))
        for o in system_runs
    ]
    rows = summarise(parts, np.random.default_rng(0)).to_dict("records")
    return [(str(row["name"]), row["wer"], row["low"], row["high"], *size) for row in rows]


def _gains(
    system_runs: Sequence[SystemRuns],
    group_U: NDArray[np.str_],
    names: Sequence[str],
    attribute: str,
) -> pd.DataFrame:
    """The gain of each pair of systems in each group; of two groups, in the first only, since the
    second is its complement."""
    counts = counts_of(system_runs)
    pairs = list(combinations(range(len(system_runs)), 2))
    # Of two groups the contrast of one is that of the other with its sign changed: one test.
    tested = names if len(names) > 2 else names[:1]
    estimates = []
    for group in tested:
        delta, splits = differences(
            contrasts(counts.errors, counts.words_U, counts.clusters, group_U == group)
        )
        estimates.append(Estimate(delta, [split.total for split in splits]))
    # One family of all groups and pairs: Holm's step-down goes over the flat array.
    p_GP = np.array([estimate.p() for estimate in estimates])
    levels = holm(p_GP.ravel())
    adjusted_GP, level_GP = (part.reshape(p_GP.shape) for part in (levels.p_adjusted, levels.level))
    rows = []
    for g, (group, estimate) in enumerate(zip(tested, estimates, strict=True)):
        inside, outside = (
            mean_rates(counts, member_U) for member_U in (group_U == group, group_U != group)
        )
        half_P = estimate.half_width(level_GP[g])
        for k, (i, j) in enumerate(pairs):
            contrast, half = float(estimate.value[k]), float(half_P[k])
            numbers = (
                attribute, group, system_runs[i].name, system_runs[j].name, inside[j] - inside[i],
                outside[j] - outside[i], contrast - half, contrast + half,
                1 - float(level_GP[g, k]), float(p_GP[g, k]), float(adjusted_GP[g, k]),
                abs(contrast) > half,
            )  # fmt: skip
            rows.append(numbers)
    return pd.DataFrame(rows, columns=list(GAIN_COLUMNS))


def mean_rates(counts: Counts, member_U: Bools) -> list[float]:
    """Of each system, mean over runs, on the utterances `member_U`."""
    words = counts.words_U[member_U].sum()
    return [float(own[:, member_U].sum() / len(own) / words) for own in counts.errors]
