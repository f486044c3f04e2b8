"""The conditions of a fair comparison within a study, one by one: met, broken, or unknown
(docs/method.md)."""

from collections.abc import Mapping

import pandas as pd

from bench.results.comparability import RULES, SEPARATOR, Rule, cost_name, differing_facts
from bench.runs.state import ENDS
from reports.format import plural
from reports.input import BudgetSummary, Condition

SEEDS_TITLE = "Number of seeds"


def conditions(
    facts: Mapping[str, Mapping[str, str]],
    runs: pd.DataFrame,
    budget: BudgetSummary,
    leakage: Mapping[str, int],
) -> tuple[Condition, ...]:
    """Every condition: those of RULES in their order, then those of the runs and the corpus.

    `facts` are those of each system's scored runs; a fact in which runs differ has their values
    joined by SEPARATOR. `leakage` is what the corpus counts as shared between splits.
    """
    scored = {str(name) for name in _scored(runs)["system"]}
    of_scored = {name: own for name, own in facts.items() if name in scored}
    return (
        *(_alike(rule, of_scored) for rule in RULES),
        _spent(tuple(facts), runs, budget),
        _cut(runs, budget),
        _leakage(leakage),
        _openings(runs),
    )


def seeds_condition(plan: str, stamp: str) -> Condition:
    """Whether the number of seeds was decided before results were seen, by a `plan` of looks or
    once for all; `stamp` says that it was not."""
    if stamp:
        return Condition(SEEDS_TITLE, "bad", "raised after results had been seen", (stamp,))
    if plan:
        return Condition(SEEDS_TITLE, "good", f"by a plan: {plan}")
    return Condition(SEEDS_TITLE, "good", "one number for all, fixed before the first run")


def _alike(rule: Rule, facts: Mapping[str, Mapping[str, str]]) -> Condition:
    """Whether all systems, and all runs of each, have the same values of the facts of `rule`."""
    own = {
        name: {key: value for key, value in known.items() if rule.governs(key)}
        for name, known in facts.items()
    }
    keys = list(dict.fromkeys(key for known in own.values() for key in known))
    if not keys:
        return Condition(rule.title, "plain", "not recorded" if facts else "no scored run")
    differing = differing_facts(own, of_costs=rule.only_costs)
    details = []
    for key in keys:
        values = {name: known[key] for name, known in own.items() if key in known}
        # A system whose runs differ has all their values, joined by the separator.
        if key in differing or any(SEPARATOR in value for value in values.values()):
            name = cost_name(key) if rule.only_costs else key
            details.append(f"{name}: {_grouped(values)}")
    if details and rule.only_costs:
        found = "differs: costs are not comparable, error rates are"
        return Condition(rule.title, "bad", found, tuple(details), of_costs=True)
    if details:
        return Condition(rule.title, "bad", "differs", tuple(details))
    silent = [name for name, known in own.items() if not known]
    unknown = (f"not recorded of {', '.join(silent)}",) if silent else ()
    value = next(known[keys[0]] for known in own.values() if keys[0] in known)
    found = value if len(keys) == 1 else f"{plural(len(keys), 'setting')} alike"
    return Condition(rule.title, "plain" if unknown else "good", found, unknown)


def _grouped(values: Mapping[str, str]) -> str:
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return "; ".join(f"{value} ({', '.join(own)})" for value, own in names.items())


def _scored(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[(runs["kind"] == "confirm") & runs["test_wer"].notna()]


def _spent(systems: tuple[str, ...], runs: pd.DataFrame, budget: BudgetSummary) -> Condition:
    """Whether every system has used the trials and the seeds that the budget gives it."""
    title, details = "Budget spent", []
    ended = runs[(runs["kind"] == "trial") & runs["state"].isin(ENDS)]
    for of, what, done in (
        (lambda _: budget.num_trials, "trials", ended),
        (budget.seeds_of, "scored seeds", _scored(runs)),
    ):
        for name in systems:
            planned = of(name)
            count = done.loc[done["system"] == name, "slot"].nunique()
            if count != planned:
                details.append(f"{name}: {count} of {planned} {what}")
    if details:
        return Condition(title, "bad", "not by all in full", tuple(details))
    if runs.empty:
        return Condition(title, "plain", "not recorded")
    return Condition(title, "good", "trials and seeds by every system in full")


def _cut(runs: pd.DataFrame, budget: BudgetSummary) -> Condition:
    """Whether the cap on training seconds let every run train to its end.

    A cap ends slow systems after fewer epochs than fast ones; and on a GPU, where it counts wall
    time, it ends more runs while the machine is busy.
    """
    title = "Training not cut short"
    if runs.empty:
        return Condition(title, "plain", "not recorded")
    cut, details = runs[runs["state"] == "cut"], []
    for name in dict.fromkeys(cut["system"]):
        own, ended = (table[table["system"] == name] for table in (cut, runs))
        counts = [
            f"{(own['kind'] == kind).sum()} of {(ended['kind'] == kind).sum()} {what}"
            for kind, what in (("trial", "trials"), ("confirm", "confirm runs"))
            if (own["kind"] == kind).any()
        ]
        epochs = ended.loc[ended["state"] == "cut", "num_epochs"].dropna()
        begun = f", in epoch {epochs.min():.0f} at the earliest" if len(epochs) else ""
        details.append(f"{name}: {' and '.join(counts)}{begun}")
    if details:
        found = f"runs ended by the cap of {budget.max_train_seconds:,.0f} s"
        return Condition(title, "bad", f"{found} on training time", tuple(details))
    return Condition(title, "good", "no run was ended by the cap on training time")


def _leakage(leakage: Mapping[str, int]) -> Condition:
    """Whether a later split shares something with an earlier one."""
    title = "Leakage"
    # Watch utterances are neither trained on nor scored.
    found = {what: number for what, number in leakage.items() if "watch" not in what}
    details = tuple(f"{w}: {plural(number, 'utterance')}" for w, number in found.items() if number)
    if details:
        return Condition(title, "bad", "splits overlap", details)
    return Condition(title, "good", "no speaker, recording or sentence is shared between splits")


def _openings(runs: pd.DataFrame) -> Condition:
    """Whether each scored confirm run opened the test split once, and no trial did."""
    title, scored = "Test openings", _scored(runs)
    tested = runs[(runs["kind"] == "trial") & runs["test_wer"].notna()]
    details = [f"{run}: a trial that was scored on test" for run in tested["run"]]
    details += [
        f"{run}: opened {int(times)} times"
        for run, times in zip(scored["run"], scored["num_test_openings"], strict=True)
        if times > 1
    ]
    if details:
        return Condition(title, "bad", "more than once a seed", tuple(details))
    if scored.empty:
        return Condition(title, "plain", "the test split has not been scored")
    if scored["num_test_openings"].isna().any():
        return Condition(title, "plain", "not recorded of every run")
    return Condition(title, "good", "once a seed, by confirm runs only")
