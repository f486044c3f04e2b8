"""A system as a comparison takes it: what it understood, and what is known of how it came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.results.pairs import Outcome
from bench.stats.verdict import MARGIN


@dataclass(frozen=True, kw_only=True)
class ScoredSystem:
    """An outcome, and what is known of how it came about."""

    outcome: Outcome
    """A speaker is "" where the file names none; `aligned` finds one."""
    facts: Mapping[str, str]
    """By key, such as ``data`` or ``budget.num_trials``; what nobody recorded has no key."""
    notes: tuple[str, ...] = ()
    """What a reader of the comparison should know."""
    leakage: tuple[str, ...] = ()
    """What the splits of its corpus are known to share, a sentence each."""
    study: str = ""
    corpus: CorpusConfig | None = None
    claims: tuple[tuple[str, str], ...] = ()
    """What its study claimed before it began: pairs of labels, the first better."""
    margin: float = MARGIN
    """Within which its study takes two systems as equivalent."""

    @property
    def name(self) -> str:
        """As tables show it."""
        return self.outcome.name


def aligned(systems: Sequence[ScoredSystem], *, common: bool) -> list[Outcome]:
    """The outcomes, with the same utterances, references and speakers in every run, ids sorted.

    Args:
        systems: at least one.
        common: leave out what some run lacks, instead of refusing it.

    Raises:
        UserError: different utterances, none in common, or different references or speakers for
            the same one.
    """
    ids = _shared_ids(systems, common=common)
    _agreed(systems, ids, "ref")
    named = _agreed(systems, ids, "speaker")
    # An utterance without a speaker is a cluster of its own.
    speakers = [named.get(id, id) for id in ids]
    outcomes = []
    for system in systems:
        runs = (run.set_index("id").loc[ids].reset_index() for run in system.outcome.runs)
        ordered = tuple(run.assign(speaker=speakers) for run in runs)
        outcomes.append(replace(system.outcome, runs=ordered))
    return outcomes


def _shared_ids(systems: Sequence[ScoredSystem], *, common: bool) -> list[str]:
    found = [(system.name, set(run["id"])) for system in systems for run in system.outcome.runs]
    shared = set.intersection(*(ids for _, ids in found))
    if not shared:
        examples = ", ".join(f"{min(ids)!r} of {name}" for name, ids in dict(found).items())
        raise UserError(
            "systems are compared on the same utterances, these have none in common (such as "
            f"{examples}); make the ids alike"
        )
    for name, ids in found:
        if (extra := sorted(ids - shared)) and not common:
            shown = ", ".join(map(repr, extra[:3]))
            raise UserError(
                f"systems are compared on the same utterances, but {len(extra)} of the {len(ids)} "
                f"of {name} ({shown}{', …' if extra[3:] else ''}) are not in every other; add "
                "--common to leave them out"
            )
    return sorted(shared)


def _agreed(systems: Sequence[ScoredSystem], ids: Sequence[str], column: str) -> dict[str, str]:
    """What the systems have in `column`, by id; without those for which none has anything."""
    said: dict[str, tuple[str, str]] = {}
    wanted = set(ids)
    for system in systems:
        for run in system.outcome.runs:
            for id, value in zip(run["id"], run[column], strict=True):
                if not value or id not in wanted:
                    continue
                name, other = said.setdefault(id, (system.name, value))
                if other != value:
                    what = "reference" if column == "ref" else column
                    raise UserError(
                        f"an utterance has one {what} for all systems, but that of {id!r} is "
                        f"{other!r} in {name} and {value!r} in {system.name}; correct one"
                    )
    return {id: value for id, (_, value) in said.items()}


def claims_among(systems: Sequence[ScoredSystem]) -> tuple[tuple[str, str], ...]:
    """The claims of the systems' studies, by the names that the systems have here."""
    names = {(s.study, s.name.removeprefix(f"{s.study}/")): s.name for s in systems}
    found = [
        (names.get((s.study, better)), names.get((s.study, worse)))
        for s in systems
        for better, worse in s.claims
    ]
    return tuple(dict.fromkeys((a, b) for a, b in found if a is not None and b is not None))
