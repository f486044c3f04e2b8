"""A comparison saved in one small file: the transcripts of every run on the test set, as numbers.

The first line has the systems and their facts; each further line is an utterance with its
reference, each run's hypothesis, and what is known of utterance and speaker (age, gender, SNR, …).
Words are replaced by numbers, the same number for a word in the whole file: this preserves all
counts and tests without disclosing the text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.core.files import write_text
from bench.core.parsing import parse_json
from bench.results.counts import SystemRuns
from bench.results.looks import PlannedLooks
from bench.results.scored import (
    ScoredSystem,
    aligned,
    attributes_of,
    claims_among,
    frame_of,
    margin_among,
)
from bench.scoring import score
from bench.stats.verdict import MARGIN

FORMAT = "deepspeech-bench comparison 1"


@dataclass(frozen=True, kw_only=True)
class _Facts:
    name: str
    facts: Mapping[str, str]
    notes: tuple[str, ...]
    edges: tuple[str, ...] = ()
    """As SystemRuns has them."""
    planned: str = ""
    """The study among those of the head's `planned` that it is of."""


@dataclass(frozen=True, kw_only=True)
class _Head:
    """The first line."""

    format: str
    leakage: tuple[str, ...]
    systems: tuple[_Facts, ...]
    claims: tuple[tuple[str, ...], ...] = ()
    """Claims of the study before it began: pairs of names, the first with the lower WER."""
    margin: float = MARGIN
    planned: tuple[PlannedLooks, ...] = ()
    """Of the studies whose seeds were added at planned looks."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A further line: an utterance."""

    id: str
    speaker: str
    ref: str
    hyps: Mapping[str, tuple[str, ...]]
    """By system, one per run."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of utterance and speaker, for groups."""


def save_comparison(
    systems: Sequence[ScoredSystem],
    path: Path,
    *,
    leakage: Sequence[str],
    common: bool,
) -> None:
    """Write the runs of `systems` to `path`, with the sentences on `leakage` in their corpora.

    Raises:
        UserError: they were not scored on the same utterances, and `common` does not allow it.
    """
    system_runs = aligned(systems, common=common)
    # Equal words get equal numbers in the whole file, so every count and alignment stays the same:
    #
    #     ref    "the cat sat"      0 1 2
    #     hyp    "the cat the"      0 1 0
    codes: dict[str, int] = {}

    def coded(text: str) -> str:
        return " ".join(str(codes.setdefault(word, len(codes))) for word in text.split())

    plans = {s.planned.study: s.planned for s in systems if s.planned is not None}
    head = _Head(
        format=FORMAT,
        leakage=tuple(leakage),
        systems=tuple(
            _Facts(
                name=system.name,
                facts=system.facts,
                notes=(*system.notes, *system.warnings),
                edges=system.scored.edges,
                planned="" if system.planned is None else system.planned.study,
            )
            for system in systems
        ),
        claims=claims_among(systems),
        margin=margin_among(systems),
        planned=tuple(plans.values()),
    )
    lines, known = [to_dict(head)], attributes_of(systems)
    utterances = system_runs[0].runs[0]
    for place, (id, speaker, ref) in enumerate(
        zip(utterances["id"], utterances["speaker"], utterances["ref"], strict=True)
    ):
        hyps = {o.name: [coded(str(run["hyp"].iat[place])) for run in o.runs] for o in system_runs}
        line = {"id": id, "speaker": speaker, "ref": coded(ref), "hyps": hyps}
        lines.append(line | ({"attributes": known[id]} if known.get(id) else {}))
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def is_saved_comparison(path: Path) -> bool:
    """True if `save_comparison` wrote the file."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        return FORMAT in handle.read(len(FORMAT) + 20)


def read_saved_comparison(path: Path) -> list[ScoredSystem]:
    """The systems in a file of `save_comparison`, scored again.

    Raises:
        UserError: the file is damaged.
    """
    try:
        first, *lines = map(parse_json, path.read_text(encoding="utf-8").splitlines())
        head = from_dict(_Head, first)
        rows = [from_dict(_Row, line) for line in lines]
        if head.format != FORMAT or not head.systems or len({row.id for row in rows}) < len(rows):
            raise ValueError("its format is another, no system is there, or an utterance twice")
        plans = {planned.study: planned for planned in head.planned}
        attributes = {row.id: row.attributes for row in rows if row.attributes}
        return [
            ScoredSystem(
                scored=SystemRuns(
                    name=system.name, runs=_runs(rows, system.name), edges=system.edges
                ),
                facts=system.facts,
                notes=system.notes,
                leakage=head.leakage,
                claims=tuple((first, second) for first, second in head.claims),
                margin=head.margin,
                planned=plans[system.planned] if system.planned else None,
                attributes=attributes,
            )
            for system in head.systems
        ]
    except (OSError, ValueError, KeyError, UserError) as error:
        raise UserError(
            f"{path} is a damaged comparison ({error}); write it again with bench.compare --save"
        ) from error


def _runs(rows: Sequence[_Row], system: str) -> tuple[pd.DataFrame, ...]:
    runs = []
    for hyps in zip(*(row.hyps[system] for row in rows), strict=True):
        scores = score(
            ids=[row.id for row in rows],
            refs=[row.ref for row in rows],
            hyps=hyps,
            speakers=[row.speaker for row in rows],
            seconds=[0.0] * len(rows),
        )
        runs.append(frame_of(scores))
    if not runs:
        raise ValueError(f"no run of {system!r} is there")
    return tuple(runs)
