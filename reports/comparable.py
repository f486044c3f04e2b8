"""The conditions of a fair comparison, one by one: kept, broken, or unknown (DESIGN.md, 8.4)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from reports.format import plural
from reports.input import ReportInput

Outcome = Literal["good", "bad", "plain"]

FACTS: Mapping[str, str] = {
    "data": "Data digest",
    "text": "Text normalisation",
    "features": "Features version",
    "decoder": "Decoder",
    "budget": "Budget",
    "precision": "Precision",
    "hardware": "Hardware",
    "metric": "Metric version",
    "code": "Code commit",
}
"""What must be alike for every variant: key of ReportInput.facts, or what its keys begin with."""

SEPARATOR = " | "
"""Between the values of runs of one variant that do not agree."""


@dataclass(frozen=True)
class Check:
    """One condition."""

    title: str
    outcome: Outcome
    """"plain": nobody recorded it."""
    found: str
    details: tuple[str, ...] = ()
    """What differs, or is not as it should be: a sentence each."""


def checks(report_input: ReportInput) -> tuple[Check, ...]:
    """Every condition, in the order of FACTS and then those of a single study."""
    scored = {str(n) for n in _scored(report_input.runs)["variant"]}
    facts = {name: own for name, own in report_input.facts.items() if name in scored}
    alike = (_alike(title, point, facts) for point, title in FACTS.items())
    return (
        *alike,
        _spent(report_input),
        _cut(report_input),
        _leakage(report_input.corpus.leakage),
        _openings(report_input.runs),
    )


def broken(found: Iterable[Check]) -> tuple[str, ...]:
    """The titles of the conditions that do not hold."""
    return tuple(check.title for check in found if check.outcome == "bad")


def _alike(title: str, point: str, facts: Mapping[str, Mapping[str, str]]) -> Check:
    """Whether all variants have the same value of every key of `point`."""
    keys = list(dict.fromkeys(k for own in facts.values() for k in own if _of(point, k)))
    silent = [name for name, own in facts.items() if not any(_of(point, key) for key in own)]
    if not keys:
        return Check(title, "plain", "not recorded" if facts else "no scored run to ask")
    details = []
    for key in keys:
        values = {name: own[key] for name, own in facts.items() if key in own}
        if len(set(values.values())) > 1 or any(SEPARATOR in value for value in values.values()):
            details.append(f"{key}: {_grouped(values)}")
    if details:
        return Check(title, "bad", "differs", tuple(details))
    unknown = (f"not recorded of {', '.join(silent)}",) if silent else ()
    first = next(own for own in facts.values() if keys[0] in own)
    value = first[keys[0]] if len(keys) == 1 else f"{plural(len(keys), 'setting')} alike"
    return Check(title, "plain" if unknown else "good", value, unknown)


def _of(point: str, key: str) -> bool:
    return key.partition(".")[0] == point


def _grouped(values: Mapping[str, str]) -> str:
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return "; ".join(f"{value} ({', '.join(own)})" for value, own in names.items())


def _scored(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[(runs["kind"] == "confirm") & runs["test_wer"].notna()]


def _spent(report_input: ReportInput) -> Check:
    """Whether every variant has had the trials and the seeds that the budget gives it."""
    title, runs, budget = "Budget spent", report_input.runs, report_input.budget
    details = []
    ended = runs[(runs["kind"] == "trial") & (runs["state"] != "running")]
    for planned, what, done in (
        (budget.num_trials, "trials", ended),
        (budget.num_seeds, "scored seeds", _scored(runs)),
    ):
        for name in report_input.variants["variant"]:
            count = done.loc[done["variant"] == name, "slot"].nunique()
            if count != planned:
                details.append(f"{name}: {count} of {planned} {what}")
    if details:
        return Check(title, "bad", "not by all in full", tuple(details))
    if runs.empty:
        return Check(title, "plain", "not recorded")
    return Check(title, "good", "trials and seeds by every variant in full")


def _cut(report_input: ReportInput) -> Check:
    """Whether the cap on training seconds let every run train to its end.

    A cap ends slow systems after fewer epochs than fast ones; and on a GPU, where it counts wall
    time, it ends more runs while the machine is busy.
    """
    title, runs = "Training not cut short", report_input.runs
    if runs.empty:
        return Check(title, "plain", "not recorded")
    cut, details = runs[runs["state"] == "cut"], []
    for name in dict.fromkeys(cut["variant"]):
        own, ended = (table[table["variant"] == name] for table in (cut, runs))
        counts = [
            f"{(own['kind'] == kind).sum()} of {(ended['kind'] == kind).sum()} {what}"
            for kind, what in (("trial", "trials"), ("confirm", "confirm runs"))
            if (own["kind"] == kind).any()
        ]
        epochs = ended.loc[ended["state"] == "cut", "num_epochs"].dropna()
        begun = f", in epoch {epochs.min():.0f} at the earliest" if len(epochs) else ""
        details.append(f"{name}: {' and '.join(counts)}{begun}")
    if details:
        found = f"runs ended by the cap of {report_input.budget.max_train_seconds:,.0f} s"
        return Check(title, "bad", f"{found} on training time", tuple(details))
    return Check(title, "good", "no run was ended by the cap on training time")


def _leakage(leakage: Mapping[str, int]) -> Check:
    """Whether a later split shares something with an earlier one."""
    title = "Leakage"
    # Watch utterances are neither trained on nor scored.
    found = {what: number for what, number in leakage.items() if "watch" not in what}
    details = tuple(f"{w}: {plural(number, 'utterance')}" for w, number in found.items() if number)
    if details:
        return Check(title, "bad", "splits overlap", details)
    return Check(title, "good", "no speaker, recording or sentence is shared between splits")


def _openings(runs: pd.DataFrame) -> Check:
    """Whether each scored confirm run opened the test split once, and no trial did."""
    title, scored = "Test openings", _scored(runs)
    details = [f"{run}: a trial that was scored on test" for run in _trials_on_test(runs)]
    details += [
        f"{run}: opened {int(times)} times"
        for run, times in zip(scored["run"], scored["num_test_openings"], strict=True)
        if times > 1
    ]
    if details:
        return Check(title, "bad", "more than once a seed", tuple(details))
    if scored.empty:
        return Check(title, "plain", "the test split has not been scored")
    if scored["num_test_openings"].isna().any():
        return Check(title, "plain", "not recorded of every run")
    return Check(title, "good", "once a seed, by confirm runs only")


def _trials_on_test(runs: pd.DataFrame) -> Iterator[str]:
    tested = runs[(runs["kind"] == "trial") & runs["test_wer"].notna()]
    yield from map(str, tested["run"])
