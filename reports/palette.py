"""The colour of each system, the same on the whole page, and the marker of each run state."""

from collections.abc import Mapping

from reports.input import ReportInput

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Okabe and Ito, "Color universal design", 2008; without yellow and black, which have too
little contrast on a white or a dark background."""

DASHES = ("solid", "dash", "dot", "dashdot")
"""From the eighth system on the colours repeat, with another dash."""

STATES: Mapping[str, tuple[str, str]] = {
    "finished": ("circle", "●"),
    "cut": ("hexagon", "⬣"),
    "pruned": ("triangle-down", "▼"),
    "diverged": ("x", "✖"),
    "failed": ("square", "■"),
    "paused": ("diamond-open", "◇"),
    "killed": ("diamond", "◆"),
    "running": ("circle-open", "○"),
}
"""By state of a run: its plotly marker, and the character that looks like it."""

GOING_ON = ("running", "paused", "killed")
"""States of runs that have not ended for good."""

TRAINED = ("finished", "cut")
"""States of runs that were trained as far as the budget goes and scored: to their last epoch, or
until the cap on training seconds."""


def system_names(report_input: ReportInput) -> list[str]:
    """Every system of the study, those of the command line first and in its order."""
    listed = [*report_input.systems["system"], *report_input.runs["system"]]
    return list(dict.fromkeys(str(name) for name in listed))


def tones_of(report_input: ReportInput) -> dict[str, int]:
    """The place of each system among `system_names`: its colour and its dash on the whole page."""
    return {name: tone for tone, name in enumerate(system_names(report_input))}


def colour(tone: int) -> str:
    """Colour of the system at place `tone`."""
    return COLOURS[tone % len(COLOURS)]


def translucent(tone: int) -> str:
    """The same colour at 15 % opacity, for areas that overlap."""
    red, green, blue = bytes.fromhex(colour(tone)[1:])
    return f"rgba({red},{green},{blue},0.15)"


def dash(tone: int) -> str:
    """Plotly's dash of the system at place `tone`."""
    return DASHES[tone // len(COLOURS) % len(DASHES)]
