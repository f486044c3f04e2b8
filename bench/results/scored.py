"""A system as a comparison takes it: what it understood, and what is known of how it came about."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.results.pairs import SystemRuns
from bench.scoring import UtteranceScore
from bench.stats.verdict import MARGIN

WRITTEN = "written"
"""Column of a run whose references have marks: the reference as its owner wrote it."""
_WRONG_WORD = "*"
"""Stands for a word that no reference has."""


@dataclass(frozen=True, kw_only=True)
class ScoredSystem:
    """The scored runs of a system, and what is known of how they came about."""

    scored: SystemRuns
    """A speaker is "" where the file names none; `aligned` finds one."""
    facts: Mapping[str, str]
    """By key, such as ``data`` or ``budget.num_trials``; what nobody recorded has no key."""
    notes: tuple[str, ...] = ()
    """What a reader of the comparison should know."""
    warnings: tuple[str, ...] = ()
    """What is likely not as the owner of the file means it; a sentence each."""
    leakage: tuple[str, ...] = ()
    """What the splits of its corpus are known to share, a sentence each."""
    study: str = ""
    corpus: CorpusConfig | None = None
    file: Path | None = None
    """That its texts are from, if it is not a run of ours."""
    no_verdict: str = ""
    """What its study was to compare and cannot, in a sentence; said of a study's first system."""
    unpaired: frozenset[str] = frozenset()
    """Ids that have a reference and no hypothesis, or the other way round."""
    claims: tuple[tuple[str, str], ...] = ()
    """What its study claimed before it began: pairs of labels, the first better."""
    margin: float = MARGIN
    """Within which its study takes two systems as equivalent."""

    @property
    def name(self) -> str:
        """As tables show it."""
        return self.scored.name


def frame_of(scores: Sequence[UtteranceScore]) -> pd.DataFrame:
    """The utterances table of a run."""
    columns = [field.name for field in fields(UtteranceScore)]
    return pd.DataFrame.from_records(list(map(attrgetter(*columns), scores)), columns=columns)


def with_ids(system: ScoredSystem, rename: Callable[[str], str]) -> ScoredSystem:
    """`system` with other ids.

    Raises:
        UserError: two utterances of one run would be called alike.
    """
    runs = tuple(run.assign(id=run["id"].map(rename)) for run in system.scored.runs)
    for before, after in zip(system.scored.runs, runs, strict=True):
        if (again := after["id"].duplicated()).any():
            id = after["id"][again].iloc[0]
            alike = sorted(before["id"][after["id"] == id])
            raise UserError(
                f"utterances are matched by name, but {system.name} has {alike[0]!r} and "
                f"{alike[1]!r}, both named {id!r}; leave --match-by out, or rename one"
            )
    unpaired = frozenset(map(rename, system.unpaired))
    return replace(system, scored=replace(system.scored, runs=runs), unpaired=unpaired)


def aligned(systems: Sequence[ScoredSystem], *, common: bool) -> list[SystemRuns]:
    """The runs of each system on the same utterances, sorted by id, with one reference and one
    speaker for each utterance.

    Args:
        systems: at least one.
        common: leave out what some run lacks, instead of refusing it.

    Raises:
        UserError: different utterances, none in common, different references or speakers for the
            same one, or no reference with a word.
    """
    ids = _shared_ids(systems, common=common)
    _agreed(systems, ids, "ref")
    named = _agreed(systems, ids, "speaker")
    # An utterance without a speaker is a cluster of its own.
    speakers = [named.get(id, id) for id in ids]
    system_runs = []
    for system in systems:
        runs = (run.set_index("id").loc[ids].reset_index() for run in system.scored.runs)
        ordered = tuple(run.assign(speaker=speakers) for run in runs)
        system_runs.append(replace(system.scored, runs=ordered))
    if not system_runs[0].runs[0]["num_ref_words"].any():
        raise UserError(
            f"error rates need a reference word, the {len(ids)} references have none; name other "
            "files"
        )
    return _with_one_reference(system_runs)


def left_out(systems: Sequence[ScoredSystem]) -> str:
    """How many utterances `aligned` leaves out with `common`, and of what; "" if none."""
    runs = [(system, set(run["id"])) for system in systems for run in system.scored.runs]
    shared = set.intersection(*(ids for _, ids in runs))
    every = set.union(*(ids | system.unpaired for system, ids in runs))
    if every == shared:
        return ""
    lacking = Counter({s.name: len(every - ids) for s, ids in runs if every - ids})
    shown = ", ".join(f"{name} lacks {count}" for name, count in lacking.items())
    return f"--common left out {len(every - shared)} of {len(every)} utterances: {shown}"


def _with_one_reference(system_runs: list[SystemRuns]) -> list[SystemRuns]:
    """One reference for every run, where alternatives were chosen that differ: the longest.

    All are divided by its words. A run that came closest to another one keeps its number of errors;
    their places are unknown, so they stand at the utterance's begin.
    """
    runs = [run for system in system_runs for run in system.runs]
    if not any(WRITTEN in run for run in runs):
        return system_runs
    refs = pd.DataFrame({place: run["ref"] for place, run in enumerate(runs)})
    longest = [max(row, key=lambda ref: len(ref.split())) for row in refs.to_numpy()]
    return [
        replace(system, runs=tuple(_read_as(run, longest) for run in system.runs))
        for system in system_runs
    ]


def _read_as(run: pd.DataFrame, refs: Sequence[str]) -> pd.DataFrame:
    run = run.assign(num_ref_words=[len(ref.split()) for ref in refs])
    errors = run["substitutions"] + run["deletions"] + run["insertions"]
    hyps = [
        hyp if ref == own else " ".join([_WRONG_WORD] * count + ref.split()[count:])
        for ref, own, hyp, count in zip(refs, run["ref"], run["hyp"], errors, strict=True)
    ]
    return run.assign(ref=refs, hyp=hyps)


def _shared_ids(systems: Sequence[ScoredSystem], *, common: bool) -> list[str]:
    found = [(system.name, set(run["id"])) for system in systems for run in system.scored.runs]
    shared = set.intersection(*(ids for _, ids in found))
    if not shared:
        examples = ", ".join(f"{min(ids)!r} of {name}" for name, ids in dict(found).items())
        raise UserError(
            "systems are compared on the same utterances, these have none in common (such as "
            f"{examples}); make the ids alike, or add --match-by name if only folders differ"
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
        for run in system.scored.runs:
            values = run[WRITTEN] if column == "ref" and WRITTEN in run else run[column]
            for id, value in zip(run["id"], values, strict=True):
                # No speaker is an unknown one; an empty reference says that nobody spoke.
                if id not in wanted or (column == "speaker" and not value):
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
