"""Rounds of faults, one after the other, until enough were injected."""

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.results.progress import ProgressReader
from bench.runs.mlflow.store import connect
from tests.faults.invariants import broken_in, curves
from tests.faults.rounds import Round, Services
from tests.faults.saboteur import KINDS, Kind
from tests.faults.services import MlflowServer, Postgres

POLL_SECONDS = 0.1
FAULTS_PER_ROUND = (8, 14)
MAX_ROUND_SECONDS = 900.0
ATTEMPT_SECONDS = 12.0
"""A fault that finds nothing to hit for so long is left out."""

Say = Callable[[str], None]


@dataclass
class Tally:
    """What was injected and what broke."""

    faults: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    """By kind, in how many rounds."""
    broken: dict[int, list[str]] = field(default_factory=dict)
    """By round."""
    kinds_in: dict[int, set[str]] = field(default_factory=dict)
    num_rounds: int = 0
    seconds: float = 0.0
    curves: dict[str, Any] = field(default_factory=dict)

    @property
    def num_faults(self) -> int:
        """That truly hit."""
        return sum(self.faults.values())

    def as_markdown(self) -> str:
        """The table by kind."""
        lines = ["| fault | injected | in rounds | of these with a broken invariant |"]
        lines.append("|---|---|---|---|")
        for kind in KINDS:
            bad = sum(kind.name in self.kinds_in[number] for number in self.broken)
            numbers = self.faults[kind.name], self.rounds[kind.name], bad
            lines.append(f"| {kind.name} | {' | '.join(map(str, numbers))} |")
        total = self.num_faults, self.num_rounds, len(self.broken)
        lines.append(f"| all | {' | '.join(map(str, total))} |")
        return "\n".join(lines)


@contextmanager
def services(say: Say) -> Iterator[Services]:
    """An MLflow server, and PostgreSQL where it can be run."""
    server, postgres = MlflowServer(), None
    try:
        postgres = Postgres()
    except pytest.skip.Exception as lack:
        say(f"without it: {lack}")
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        connect(f"sqlite:///{folder / 'mlflow.db'}")
        yield Services(server, postgres, folder / "mlflow.db")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        server.remove()
        if postgres is not None:
            postgres.remove()


def run(seed: int, num_faults: int, corpus: str, say: Say) -> Tally:
    """Rounds until `num_faults` were injected. The draws follow from `seed`; when a draw falls due
    the processes are where they happen to be."""
    tally, begun = Tally(), time.monotonic()
    with services(say) as shared:
        while tally.num_faults < num_faults:
            number = tally.num_rounds
            rng = random.Random(f"{seed}/{number}")
            at = Round(
                name=f"round-{seed}-{number}",
                services=shared,
                on_postgres=shared.postgres is not None and rng.random() < 0.5,
                on_server=rng.random() < 0.6,
                corpus=corpus,
            )
            most = num_faults - tally.num_faults
            try:
                broken = _play(at, rng, tally, most, say)
            except BaseException:
                at.remove()
                raise
            tally.num_rounds += 1
            if broken:
                tally.broken[number] = broken
                say(f"round {number}: BROKEN, kept in {at.folder}")
                say("\n".join(f"  {line}" for line in broken))
            else:
                at.remove()
            tally.seconds = time.monotonic() - begun
            say(f"{tally.num_faults} faults in {tally.seconds / 60:.0f} minutes")
    return tally


def _play(at: Round, rng: random.Random, tally: Tally, most: int, say: Say) -> list[str]:
    """A round from its start to its invariants: those that broke."""
    number, begun = tally.num_rounds, time.monotonic()
    tally.kinds_in[number] = set()
    at.prepare()
    for service in (at.services.mlflow, at.services.postgres):
        if service is not None:
            service.start()
    queue = "PostgreSQL" if at.on_postgres else "journal"
    tracking = "MLflow server" if at.on_server else "SQLite"
    say(f"round {number}: {queue}, {tracking}, {at.folder}")
    saboteur = Saboteur(at, rng, most)
    while not at.supervise():
        if time.monotonic() - begun > MAX_ROUND_SECONDS:
            return [*at.broken, f"not done after {MAX_ROUND_SECONDS:.0f} s"]
        at.do_what_is_due()
        at.watch_ends()
        if (hit := saboteur.act()) is not None:
            kind, detail = hit
            say(f"  {time.monotonic() - begun:5.1f} s {kind.name}: {detail}")
            tally.faults[kind.name] += 1
            tally.rounds[kind.name] += kind.name not in tally.kinds_in[number]
            tally.kinds_in[number].add(kind.name)
        time.sleep(POLL_SECONDS)
    at.do_what_is_due(everything=True)
    _finish(at)
    broken = broken_in(at) + _other_numbers(at, tally)
    took, ended = time.monotonic() - begun, ProgressReader(at.study).read().num_ended
    say(f"  {took:5.1f} s over, {ended} runs, exit codes {at.exit_codes}")
    return broken


class Saboteur:
    """Draws a kind, waits a random time, and injects it as soon as there is something to hit."""

    def __init__(self, at: Round, rng: random.Random, most: int) -> None:
        self._at = at
        self._rng = rng
        self._left = min(most, rng.randint(*FAULTS_PER_ROUND))
        self._num_drawn = {kind: 0 for kind in KINDS if kind.is_possible(at)}
        self._draw()

    def _draw(self) -> None:
        # What was drawn already is drawn less: a round shall see many kinds.
        weights = [4.0**-count for count in self._num_drawn.values()]
        self._kind = self._rng.choices(list(self._num_drawn), weights)[0]
        self._num_drawn[self._kind] += 1
        self._due = time.monotonic() + self._rng.uniform(0.5, 6)

    def act(self) -> tuple[Kind, str] | None:
        """Inject what is due; what was hit, if anything was."""
        now = time.monotonic()
        if not self._left or now < self._due or self._at.is_down:
            return None
        detail = self._kind.inject(self._at, self._rng)
        if detail is None:
            if now > self._due + ATTEMPT_SECONDS:
                self._draw()
            return None
        kind = self._kind
        self._left -= 1
        self._draw()
        return kind, detail


def _finish(at: Round) -> None:
    """Services back, the second launcher gone, and what MLflow missed sent."""
    for service in (at.services.mlflow, at.services.postgres):
        if service is not None:
            service.start()
    if at.company is not None:
        at.company.wait()
    at.watch_ends()
    # After every round: where nothing was missed, a second sending must change nothing.
    at.sync()


def _other_numbers(at: Round, tally: Tally) -> list[str]:
    """Curves that differ from those of the same runs in earlier rounds."""
    different = []
    for system, curve in curves(at).items():
        if tally.curves.setdefault(system, curve) != curve:
            different.append(f"{system} trial-000: {curve}, not {tally.curves[system]}")
    return different
