"""The rules of a fair comparison (docs/method.md): errors and notes of bench.compare, and
conditions.py for the report."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.core.console import ProgressCallback
from bench.core.errors import UserError
from bench.data.corpora import load_corpus
from bench.data.utterance import task_digest
from bench.results.scored import ScoredSystem

STAMP = "NOT COMPARABLE"
COSTS_STAMP = "COSTS NOT COMPARABLE"
TRAINING_STAMP = "TRAINING DATA DIFFER"
COST_NAMES = {
    "recurrence": "what computed recurrences",
    "ctc": "what computed CTC",
    "features": "how features reach the GPU",
    "steps": "how steps are launched",
    "ranks": "devices of a run",
}
"""By the part of a fact's key after ``costs.``."""
SEPARATOR = " | "
"""Joins the values of a fact in which the runs of one system differ."""


@dataclass(frozen=True)
class Rule:
    """A fact that must be the same for all systems."""

    key: str
    """Of the fact, or the part of its keys before the first dot."""
    title: str
    """On the page."""
    only_ours: bool = False
    """External systems have no such fact, so its absence is not reported."""
    only_costs: bool = False
    """Systems that differ in it have error rates that are comparable, and costs that are not."""

    def governs(self, key: str) -> bool:
        """Whether a fact of this key falls under the rule."""
        return key.partition(".")[0] == self.key


RULES = (
    Rule("data", "Data digest"),
    Rule("text", "Text normalisation"),
    Rule("features", "Features version", only_ours=True),
    Rule("decoder", "Decoder"),
    Rule("budget", "Budget"),
    Rule("precision", "Precision"),
    Rule("hardware", "Hardware"),
    Rule("costs", "What costs depend on", only_ours=True, only_costs=True),
    Rule("metric", "Metric version"),
    Rule("code", "Code commit", only_ours=True),
)
"""In the order of the page."""


def differing_facts(
    facts: Mapping[str, Mapping[str, str]], *, of_costs: bool = False
) -> dict[str, Mapping[str, str]]:
    """The keys in which systems are known to differ, so that their error rates are not comparable,
    or `of_costs`, so that only their costs are not: by key the value of each system that has one.

    A fact that is unknown, as for external systems, is not a difference. Nor are corpora that were
    joined to the one that is tested on, see `differing_training`.
    """
    keys = sorted({key for own in facts.values() for key in own if _is_of_costs(key) == of_costs})
    known = {key: {name: own[key] for name, own in facts.items() if key in own} for key in keys}
    return {key: own for key, own in known.items() if _differ(key, own.values())}


def _differ(key: str, values: Iterable[str]) -> bool:
    return len({task_digest(value) if key == "data" else value for value in values}) > 1


def _is_of_costs(key: str) -> bool:
    return any(rule.only_costs and rule.governs(key) for rule in RULES)


def differing_training(systems: Sequence[ScoredSystem]) -> tuple[str, ...]:
    """A sentence if `systems` are tested on one corpus, and others were joined to it for some."""
    known = {s.name: s.facts["data"] for s in systems if "data" in s.facts}
    if len(set(known.values())) < 2 or _differ("data", known.values()):
        return ()
    told = {s.name: s.corpus.title for s in systems if s.corpus is not None}
    shown = _examples({name: f"{told.get(name, '')} {own}".strip() for name, own in known.items()})
    return (
        f"{TRAINING_STAMP} ({shown}), test is the same: a difference is one of systems and data "
        "together",
    )


def differing_costs(systems: Sequence[ScoredSystem]) -> tuple[str, ...]:
    """A sentence if the costs of `systems` are not comparable."""
    differing = differing_facts({s.name: s.facts for s in systems}, of_costs=True)
    if not differing:
        return ()
    shown = "; ".join(f"{cost_name(k)} ({_examples(values)})" for k, values in differing.items())
    return (f"{COSTS_STAMP}: the systems differ in {shown}; error rates are compared",)


def cost_name(key: str) -> str:
    """A fact of costs in words."""
    return COST_NAMES.get(key.partition(".")[2], key)


def unknown_facts(systems: Sequence[ScoredSystem]) -> tuple[str, ...]:
    """One sentence for each group of systems of which the same facts are unknown."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for system in systems:
        lacking = tuple(
            rule.key
            for rule in RULES
            if not (rule.only_ours or any(map(rule.governs, system.facts)))
        )
        if lacking:
            groups.setdefault(lacking, []).append(system.name)
    return tuple(f"{', '.join(n)}: {', '.join(keys)} unknown" for keys, n in groups.items())


def check_comparable(systems: Sequence[ScoredSystem], *, force: bool) -> tuple[str, ...]:
    """The facts in which `systems` differ; with `force` there may be some.

    Raises:
        UserError: they differ and not `force`; names the keys, and a system for each value.
    """
    differing = differing_facts({system.name: system.facts for system in systems})
    if differing and not force:
        shown = "; ".join(f"{key} ({_examples(values)})" for key, values in differing.items())
        raise UserError(
            f"{STAMP}: the systems differ in {shown}; compare like with like, or add --force to "
            "see the numbers under that stamp"
        )
    return tuple(differing)


def _examples(values: Mapping[str, str]) -> str:
    first: dict[str, str] = {}
    for name, value in values.items():
        first.setdefault(value, name)
    return ", ".join(f"{name}: {value}" for value, name in first.items())


def left_out_of_corpora(systems: Sequence[ScoredSystem]) -> tuple[str, ...]:
    """One sentence for each corpus with utterances that its validation left out, without corpora
    that no longer exist."""
    found = []
    for config in dict.fromkeys(s.corpus for s in systems if s.corpus is not None):
        try:
            reasons = Counter(item.reason for item in load_corpus(config).left_out)
        except UserError:
            continue
        if reasons:
            shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            found.append(f"{reasons.total()} utterances of {config.title} were left out: {shown}")
    return tuple(found)


def leaks(
    systems: Sequence[ScoredSystem], progress: ProgressCallback | None = None
) -> tuple[str, ...]:
    """One sentence for each corpus whose splits share speakers, recordings or texts; those from
    saved comparisons come first.

    Another sentence for each corpus that no longer exists or has changed, so that this is unknown.
    """
    corpora = dict.fromkeys((s.corpus, s.facts.get("data")) for s in systems)
    found = list(dict.fromkeys(sentence for system in systems for sentence in system.leakage))
    for config, digest in corpora:
        if config is None:
            continue
        unknown = f"leakage between the splits of {config.title} is unknown"
        try:
            corpus = load_corpus(config, progress=progress)
        except UserError as error:
            found.append(f"{unknown}: {error}")
            continue
        # Watch utterances are neither trained on nor scored.
        shared = {k: count for k, count in corpus.leakage.items() if "watch" not in k}
        if corpus.digest != digest:
            found.append(f"{unknown}: the corpus has changed")
        elif shared:
            counts = ", ".join(f"{key} ({count})" for key, count in sorted(shared.items()))
            found.append(f"LEAKAGE between the splits of {config.title}: {counts}")
    return tuple(found)
