"""A comparison kept in one small file: every run's words on the test set, as numbers.

The first line names the systems and what is known of them; each further line is an utterance with
its reference and each run's hypothesis. A word is written as its number, the same in the whole
file: enough for every count and test, and nobody's text is passed on.
"""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from bench.core.config import to_dict
from bench.core.errors import UserError
from bench.results.pairs import Outcome
from bench.results.scored import ScoredSystem, aligned
from bench.scoring import score

FORMAT = "deepspeech-bench comparison 1"


def keep(
    systems: Sequence[ScoredSystem],
    path: Path,
    *,
    leakage: Sequence[str],
    common: bool,
) -> None:
    """Write the runs of `systems` to `path`, and what `leakage` was found in their corpora.

    Raises:
        UserError: they were not scored on the same utterances, and `common` does not allow it.
    """
    outcomes = aligned(systems, common=common)
    codes: dict[str, int] = {}
    number = count()

    def coded(text: str) -> str:
        return " ".join(str(codes.setdefault(word, next(number))) for word in text.split())

    facts = [
        {"name": system.name, "facts": dict(system.facts), "notes": list(system.notes)}
        for system in systems
    ]
    lines: list[dict[str, Any]] = [{"format": FORMAT, "leakage": list(leakage), "systems": facts}]
    utterances = outcomes[0].runs[0]
    for place, (id, speaker, ref) in enumerate(
        zip(utterances["id"], utterances["speaker"], utterances["ref"], strict=True)
    ):
        hyps = {o.name: [coded(str(run["hyp"].iat[place])) for run in o.runs] for o in outcomes}
        lines.append({"id": id, "speaker": speaker, "ref": coded(ref), "hyps": hyps})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def is_kept(path: Path) -> bool:
    """Whether `keep` wrote the file."""
    with path.open(encoding="utf-8", errors="replace") as handle:
        return FORMAT in handle.read(len(FORMAT) + 20)


def read_kept(path: Path) -> list[ScoredSystem]:
    """The systems that `keep` wrote, scored anew.

    Raises:
        UserError: the file is damaged.
    """
    try:
        head, *rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [
            ScoredSystem(
                outcome=Outcome(name=system["name"], runs=_runs(rows, system["name"])),
                facts=system["facts"],
                notes=tuple(system["notes"]),
                leakage=tuple(head["leakage"]),
            )
            for system in head["systems"]
        ]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"{path} is a damaged comparison ({error}); write it again with bench.compare --save"
        ) from error


def _runs(rows: Sequence[dict[str, Any]], system: str) -> tuple[pd.DataFrame, ...]:
    runs = []
    for seed in range(len(rows[0]["hyps"][system])):
        scores = score(
            ids=[row["id"] for row in rows],
            refs=[row["ref"] for row in rows],
            hyps=[row["hyps"][system][seed] for row in rows],
            speakers=[row["speaker"] for row in rows],
            seconds=[0.0] * len(rows),
        )
        runs.append(pd.DataFrame(map(to_dict, scores)))
    return tuple(runs)
