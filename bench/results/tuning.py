"""Tuning: on which variant and corpus the search spaces of a study were tuned, a condition of a
fair comparison; and the gain by tuning, where a study has a system at the defaults and tuned."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from bench.data.text import TEXT_VERSION
from bench.study.definition import StudyDefinition
from bench.study.space import TunedOn
from reports.columns import PairColumns, rows_of, seen_from
from reports.format import bare_percent, interval, points
from reports.input import Condition

TITLE = "Search spaces"


def tuning_condition(definition: StudyDefinition) -> Condition:
    """Whether each system is searched in a space that was tuned on its own variant and corpus.

    A space that was tuned on one of the compared variants favours it by an unknown amount: with few
    trials an optimum an octave off costs about a point of WER. So such a condition is unknown, not
    broken.
    """
    spaces = {label: definition.spaces[label] for label in definition.systems}
    files = sorted({file for space in spaces.values() for file in space.files.values()})
    tuned: dict[str, TunedOn] = {}
    for space in spaces.values():
        tuned |= space.tuned_on
    details = []
    for file in files:
        labels = [label for label, space in spaces.items() if file in space.files.values()]
        details += list(_doubts(definition, labels, file, tuned.get(file)))
    told = "; ".join(dict.fromkeys(str(tuned[file]) for file in files if file in tuned))
    found = f"tuned on {told}" if told else "on what they were tuned is not recorded"
    return Condition(TITLE, "plain" if details else "good", found, tuple(details))


def _doubts(
    definition: StudyDefinition, labels: list[str], file: str, tuned: TunedOn | None
) -> Iterator[str]:
    """Why the space in `file`, which the systems `labels` share, may not suit them."""
    if tuned is None:
        yield f"{file} does not say on what it was tuned ({', '.join(labels)})"
        return
    others = [label for label in labels if definition.systems[label].variant != tuned.variant]
    if others:
        yield (
            f"{file} was tuned on {tuned.variant}: the optimum of {', '.join(others)} may lie "
            "elsewhere"
        )
    if tuned.corpus != definition.corpus.title:
        yield f"{file} was tuned on {tuned.corpus}, the study is on {definition.corpus.title}"
    if tuned.text != TEXT_VERSION:
        yield f"{file} was tuned with text version {tuned.text}, the study has {TEXT_VERSION}"


def bought_by_tuning(
    definition: StudyDefinition, systems: pd.DataFrame, pairs: pd.DataFrame
) -> Iterator[tuple[str, str]]:
    """A topic and a sentence for each system that the study has at the defaults and tuned: both
    WERs and their difference, with the interval that decided the pair.

    `systems` and `pairs` are those of the study's comparison; systems without a WER have none.
    """
    wers = systems.set_index("system")["wer_mean"].dropna()
    for default, tuned in _same_but_tuned(definition):
        for pair in rows_of(pairs, PairColumns):
            if {pair["a"], pair["b"]} != {default, tuned} or not {default, tuned} <= {*wers.index}:
                continue
            delta, low, high = seen_from(pair, default)
            yield (
                f"What tuning bought: {tuned} against {default}",
                f"WER {bare_percent(wers[default])} % at the defaults, "
                f"{bare_percent(wers[tuned])} % tuned: {points(delta)} points "
                f"({bare_percent(pair['coverage'])} % interval {interval(low, high, points)}), "
                f"{pair['verdict']}",
            )


def _same_but_tuned(definition: StudyDefinition) -> Iterator[tuple[str, str]]:
    """Pairs of labels, one of a system with nothing to search, and the other the same system but
    searched: the first confirm runs of both have the same config."""
    # Seeds differ by label and are no setting, so both configs are compared with one seed.
    labels = list(definition.systems)
    fixed = [label for label in labels if not definition.searched(label)]
    if not fixed:
        return
    configs = {label: replace(definition.first(label).config, seed=0) for label in labels}
    for default in fixed:
        for tuned in labels:
            if tuned not in fixed and configs[tuned] == configs[default]:
                yield default, tuned
