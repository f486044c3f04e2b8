"""Differences in configuration: the keys in which systems differ, and why."""

from dataclasses import dataclass

from reports.format import setting
from reports.input import ReportInput
from reports.palette import system_names

TITLE = "Differences in configuration"

OWN = frozenset({"variant", "seed"})
"""Keys that always differ."""


@dataclass(frozen=True)
class SystemRow:
    """A system as the study declares it."""

    label: str
    variant: str
    settings: tuple[tuple[str, str], ...]
    difference: str
    """From the study's base: "base", the one key, or the number of keys; "" without a question."""


@dataclass(frozen=True)
class KeyRow:
    """One key that is not the same for all."""

    key: str
    values: tuple[str, ...]
    """In the order of the systems; a dash where one has no such key."""
    origin: str
    """Why it differs: "searched", "the question", "matched" or "the variant"."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    declared: tuple[SystemRow, ...]
    asked: bool
    """Whether a question says what the base is."""
    held_equal: str
    """What the widths were solved for, if they were."""
    systems: tuple[str, ...]
    rows: tuple[KeyRow, ...]
    num_equal: int


def numbers(report_input: ReportInput) -> Numbers:
    """The keys whose values differ between the settings that were confirmed."""
    configs = report_input.configs
    names = [name for name in system_names(report_input) if name in configs]
    keys = sorted({key for name in names for key in configs[name]} - OWN)
    rows, num_equal = [], 0
    for key in keys:
        values = [configs[name].get(key) for name in names]
        if all(value == values[0] for value in values):
            num_equal += 1
            continue
        rows.append(KeyRow(key, tuple(map(setting, values)), _origin(key, report_input)))
    return Numbers(
        declared=_declared(report_input),
        asked=report_input.design.question is not None,
        held_equal=report_input.design.held_equal,
        systems=tuple(names),
        rows=tuple(rows),
        num_equal=num_equal,
    )


def _declared(report_input: ReportInput) -> tuple[SystemRow, ...]:
    question = report_input.design.question
    base = "" if question is None else question.base
    rows = []
    for label, system in report_input.design.systems.items():
        changes = system.changes
        difference = changes[0] if len(changes) == 1 else f"{len(changes)} things at once"
        if not changes:
            difference = "base" if label == base else "nothing" if base else ""
        settings = tuple((key, setting(value)) for key, value in system.settings.items())
        rows.append(SystemRow(label, system.variant, settings, difference))
    return tuple(rows)


def _origin(key: str, report_input: ReportInput) -> str:
    if any(key in space for space in report_input.spaces.values()):
        return "searched"
    # A solved width is a setting too, but none of the changes that were asked for.
    systems = report_input.design.systems.values()
    if any(key in system.changes for system in systems):
        return "the question"
    if any(key in system.settings for system in systems):
        return "matched"
    return "the variant"
