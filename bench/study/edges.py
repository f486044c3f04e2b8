"""Searched ranges that were too narrow: a winner near the end of one.

The rule: the best trial (bench.study.winner) has a value in the outermost tenth of a range, at
either end, on the scale of the range (logarithmic where it says so). Then the optimum may lie
beyond the range, and the system may be worse than it has to be. No edge have choices, ranges whose
ends are `firm`, the lower end of a range from zero, and the first trial, whose values were not
drawn but are the defaults.
"""

from collections.abc import Iterator, Mapping

from bench.study.space import Dimension

EDGE_SHARE = 0.1
"""Of a range, at either end."""
DEFAULTS_SLOT = 0
"""The trial that is trained with the defaults of the space."""


def edges(
    label: str,
    searched: Mapping[str, Dimension],
    files: Mapping[str, str],
    params: Mapping[str, object],
    slot: int,
) -> Iterator[str]:
    """A sentence, with neither capital nor full stop, for each dimension near whose end the best
    trial of the system `label` lies: what lies where, and what to do. That trial has the setting
    `params` and is in `slot`; `files` state the dimensions."""
    if slot == DEFAULTS_SLOT:
        return
    for key, dimension in searched.items():
        value = params.get(key)
        if isinstance(value, int | float) and (end := end_of(dimension, value)):
            yield (
                f"the best trial of {label} lies at the {end} edge of {key} ({value:.4g} of "
                f"{dimension}): widen the range in {files[key]} before calling it better or worse"
            )


def end_of(dimension: Dimension, value: float) -> str:
    """ "lower" or "upper" if `value` lies near that end of `dimension`, else ""."""
    if dimension.choices or dimension.firm:
        return ""
    place = dimension.place(value)
    if place <= EDGE_SHARE:
        # Nothing lies below zero, of a dropout for instance: the search was not too narrow there.
        return "lower" if dimension.low else ""
    return "upper" if place >= 1 - EDGE_SHARE else ""
