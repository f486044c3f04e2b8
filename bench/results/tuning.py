"""On what the search spaces of a study were tuned: a condition of a fair comparison."""

from collections.abc import Iterator

from bench.data.text import TEXT_VERSION
from bench.study.definition import StudyDefinition
from bench.study.space import TunedOn
from reports.input import Condition

TITLE = "Search spaces"


def tuning_condition(definition: StudyDefinition) -> Condition:
    """Whether each system is searched in a space that was tuned on its own variant and corpus.

    A space that was tuned on one of the compared variants favours it, and nobody knows by how much:
    with few trials an optimum an octave off costs about a point of WER. So such a condition is
    unknown, not broken.
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
    if tuned.corpus != definition.corpus.name:
        yield f"{file} was tuned on {tuned.corpus}, the study is on {definition.corpus.name}"
    if tuned.text != TEXT_VERSION:
        yield f"{file} was tuned with text version {tuned.text}, the study has {TEXT_VERSION}"
