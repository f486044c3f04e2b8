"""A system in a comparison: its scored runs, and facts about how they were made."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path

import pandas as pd

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig, load_corpus
from bench.results.counts import SystemRuns
from bench.results.groups import Attributes
from bench.results.looks import PlannedLooks
from bench.scoring import UtteranceScore
from bench.stats.verdict import MARGIN
from bench.study.rounds import plan_sentence
from reports.columns import word_errors

WRITTEN = "written"
"""Column of a run whose references have marks: the original reference."""
_WRONG_WORD = "*"
"""A word that occurs in no reference."""


@dataclass(frozen=True, kw_only=True)
class ScoredSystem:
    """The scored runs of a system, and facts about how they were made."""

    scored: SystemRuns
    """Speakers are "" if the file names none; `aligned` sets them."""
    facts: Mapping[str, str]
    """By key, such as ``data`` or ``budget.num_trials``; unknown facts have no key."""
    notes: tuple[str, ...] = ()
    """Remarks for readers of the comparison."""
    warnings: tuple[str, ...] = ()
    """Probable mistakes in the file, a sentence each."""
    leakage: tuple[str, ...] = ()
    """Known leakage between the splits of its corpus, a sentence each."""
    study: str = ""
    corpus: CorpusConfig | None = None
    file: Path | None = None
    """The file of its transcripts; None for runs of this project."""
    no_verdict: str = ""
    """A sentence on the planned comparisons of its study without a verdict; set on a study's first
    system."""
    unpaired: frozenset[str] = frozenset()
    """Ids with a reference and no hypothesis, or with a hypothesis and no reference."""
    claims: tuple[tuple[str, str], ...] = ()
    """Claims of its study before it began: pairs of labels, the first with the lower WER."""
    attributes: Attributes = field(default_factory=dict)
    """Attributes of utterances and speakers in its file; those of a run are in its corpus."""
    margin: float = MARGIN
    """WER difference within which its study counts two systems as equivalent."""
    planned: PlannedLooks | None = None
    """The looks by which its study decided pairs; None without a plan."""

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.scored.name


def frame_of(scores: Sequence[UtteranceScore]) -> pd.DataFrame:
    """The utterances table of a run."""
    columns = [field.name for field in fields(UtteranceScore)]
    return pd.DataFrame.from_records(list(map(attrgetter(*columns), scores)), columns=columns)


def with_ids(system: ScoredSystem, rename: Callable[[str], str]) -> ScoredSystem:
    """`system` with renamed ids.

    Raises:
        UserError: two utterances of one run would have the same id.
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
    return replace(
        system,
        scored=replace(system.scored, runs=runs),
        unpaired=unpaired,
        attributes={rename(id): own for id, own in system.attributes.items()},
    )


def aligned(systems: Sequence[ScoredSystem], *, common: bool) -> list[SystemRuns]:
    """The runs of each system on the same utterances, sorted by id, with one reference and one
    speaker for each utterance.

    Args:
        systems: at least one.
        common: leave out utterances that some run lacks, instead of raising an error.

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
    """A sentence on the utterances that `aligned` leaves out with `common`; "" if there is none."""
    runs = [(system, set(run["id"])) for system in systems for run in system.scored.runs]
    shared = set.intersection(*(ids for _, ids in runs))
    every = set.union(*(ids | system.unpaired for system, ids in runs))
    if every == shared:
        return ""
    lacking = Counter({s.name: len(every - ids) for s, ids in runs if every - ids})
    shown = ", ".join(f"{name} lacks {count}" for name, count in lacking.items())
    return f"--common left out {len(every - shared)} of {len(every)} utterances: {shown}"


def _with_one_reference(system_runs: list[SystemRuns]) -> list[SystemRuns]:
    """The runs with one reference per utterance: if runs were scored against different
    alternatives, the longest of them.

    All runs are then divided by the same number of words. A run that was scored against another
    alternative keeps its number of errors; their positions are unknown and set to the start of the
    utterance.
    """
    #     reference   we saw { two big / too } boats
    #     a heard     we saw two big boats     scored against "we saw two big boats", 5 words
    #     b heard     we saw too boats         scored against "we saw too boats", 4 words
    #
    # Both are divided by 5: the longest that any run was scored against.
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
    hyps = [
        hyp if ref == own else " ".join([_WRONG_WORD] * count + ref.split()[count:])
        for ref, own, hyp, count in zip(refs, run["ref"], run["hyp"], word_errors(run), strict=True)
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
    """The common value of `column` in all systems, by id; without ids that have none."""
    said: dict[str, tuple[str, str]] = {}
    wanted = set(ids)
    for system in systems:
        for run in system.scored.runs:
            values = run[WRITTEN] if column == "ref" and WRITTEN in run else run[column]
            for id, value in zip(run["id"], values, strict=True):
                # "" is an unknown speaker, but a valid reference: nothing was said.
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
    # A claim names labels within its study; here a label may have the study's name before it.
    #     labels in the study    gru, lstm
    #     names here             cells/gru, cells/lstm     as another study has a gru too
    names = {(s.study, s.name.removeprefix(f"{s.study}/")): s.name for s in systems}
    found = [
        (names.get((s.study, better)), names.get((s.study, worse)))
        for s in systems
        for better, worse in s.claims
    ]
    return tuple(dict.fromkeys((a, b) for a, b in found if a is not None and b is not None))


def margin_among(systems: Sequence[ScoredSystem]) -> float:
    """The narrowest margin of the systems' studies."""
    return min(system.margin for system in systems)


def planned_among(
    systems: Sequence[ScoredSystem], margin: float
) -> tuple[PlannedLooks | None, tuple[str, ...]]:
    """The looks that have decided the pairs of `systems`, if all are of one study with a plan and
    `margin` is the study's; else a stamp for each such study, as its seeds are then taken as
    planned from the beginning."""
    plans = {s.planned.study: s.planned for s in systems if s.planned is not None}
    of_one = len(plans) == 1 and all(s.planned is not None for s in systems)
    # The same study read twice, from its folder and from a file, has longer names.
    if of_one and len({s.study for s in systems}) == 1:
        if all(s.margin == margin for s in systems):
            return next(iter(plans.values())), ()
        reason = "equivalence has another margin here"
    else:
        reason = "systems from elsewhere stand beside its own here"
    return None, tuple(
        f"LOOKS NOT COUNTED: {name} added seeds at planned looks ({plan_sentence(planned.plan)}), "
        f"but {reason}, so its seeds are taken as planned from the beginning; intervals, p and "
        f"verdicts are other than in its own report, and may err more often than alpha"
        for name, planned in plans.items()
    )


def attributes_of(systems: Sequence[ScoredSystem]) -> dict[str, dict[str, str]]:
    """Attributes of the utterances, by id: from the systems' files, and from the corpora of
    recorded runs that still exist."""
    known: dict[str, dict[str, str]] = {}
    for system in systems:
        for id, own in system.attributes.items():
            known.setdefault(id, {}).update(own)
    for config in dict.fromkeys(s.corpus for s in systems if s.corpus is not None):
        with suppress(UserError):
            for utterance in load_corpus(config).split("test"):
                known.setdefault(utterance.id, {}).update(utterance.attributes)
    return known
