"""Kept comparisons (files of ``bench.compare --save`` in one folder) side by side, as the index of
studies lists them: those that may be held against each other in one group."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from bench.core.errors import UserError
from bench.core.memo import remembered
from bench.core.paths import OUT
from bench.core.seeding import numpy_generator
from bench.results.comparability import RULES, STAMP, differing_facts
from bench.results.pairs import compare_pairs, summarise
from bench.results.saved_comparison import read_saved_comparison
from bench.results.scored import ScoredSystem, aligned, claims_among
from reports import KeptGroup, KeptRow

FOLDER = OUT / "comparisons"
"""Who wants a comparison listed puts its file here."""

Facts = Mapping[str, Mapping[str, str]]
"""Of each system, by its name, as `differing_facts` takes them."""


@dataclass(frozen=True)
class _Kept:
    row: KeptRow
    facts: Facts


def kept_groups(folder: Path = FOLDER) -> tuple[KeptGroup, ...]:
    """The comparisons of ``folder/*.jsonl``, grouped by the conditions that must be the same for
    systems to be compared. A damaged file is a row that says so, in a group of its own."""
    groups: list[list[_Kept]] = []
    broken: list[KeptRow] = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            kept = _read(path)
        except UserError as error:
            broken.append(KeptRow(file=path.name, saved="", systems="", verdicts=str(error)))
            continue
        fitting = (group for group in groups if not _differing([*group, kept]))
        group = next(fitting, None)
        if group is None:
            groups.append([kept])
        else:
            group.append(kept)
    found = [_group(group) for group in groups]
    if broken:
        found.append(KeptGroup(conditions="Files that cannot be read", rows=tuple(broken)))
    return tuple(found)


def _read(path: Path) -> _Kept:
    systems = read_saved_comparison(path)
    key = sha256(path.read_bytes()).hexdigest()[:16]
    told = remembered(f"comparison-{key}", lambda: _tell(systems))
    saved = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(" ", "minutes")
    row = KeptRow(file=path.name, saved=saved.partition("+")[0], **told)
    return _Kept(row, {system.name: system.facts for system in systems})


def _tell(systems: list[ScoredSystem]) -> dict[str, str]:
    """WERs and verdicts in words: on its claims, or on all pairs if nothing was claimed."""
    runs, claims = aligned(systems, common=False), claims_among(systems)
    rng = numpy_generator(0, "bootstrap")
    margin = min(system.margin for system in systems)
    pairs = compare_pairs(runs, rng, claims, margin).to_dict("records")
    claimed = [pair for pair in pairs if pair["claim"]]
    scored = summarise(runs, rng).to_dict("records")
    return {
        "systems": ", ".join(f"{row['name']} {100 * row['wer']:.1f} %" for row in scored),
        "verdicts": "; ".join(
            f"{pair['a']}, {pair['b']}: {pair['verdict']}" for pair in claimed or pairs
        ),
    }


def _differing(kept: Iterable[_Kept]) -> dict[str, Mapping[str, str]]:
    """The facts in which any two systems of these comparisons are known to differ."""
    every = {
        f"{place}.{name}": facts
        for place, one in enumerate(kept)
        for name, facts in one.facts.items()
    }
    return differing_facts(every)


def _group(group: list[_Kept]) -> KeptGroup:
    differing = _differing(group)
    common: dict[str, str] = {}
    for one in group:
        for facts in one.facts.values():
            common |= {key: value for key, value in facts.items() if key not in differing}
    shown = [
        f"{rule.title}: {', '.join(_values(rule.key, common))}"
        for rule in RULES
        if _values(rule.key, common) and not rule.only_costs
    ]
    stamp = [f"{STAMP}: systems differ in {', '.join(differing)}"] if differing else []
    return KeptGroup(conditions="; ".join((*stamp, *shown)), rows=tuple(one.row for one in group))


def _values(rule: str, facts: Mapping[str, str]) -> list[str]:
    """The values of the facts of `rule`, those with parts as ``num_trials 4``."""
    found = []
    for key, value in sorted(facts.items()):
        name, _, part = key.partition(".")
        if name == rule:
            found.append(f"{part} {value}" if part else value)
    return found
