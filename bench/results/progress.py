"""The progress of a study, read from its records only: nothing is written or locked, so that any
process may read it at any time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from bench.results.looks import look_sentence
from bench.results.search import narrow_systems
from bench.runs.layout import METRICS, MetricPoint, read_lines, read_run
from bench.runs.reader import OBJECTIVE
from bench.runs.record import timestamp
from bench.runs.state import ENDS, TRAINED, State, read_state
from bench.study.definition import StudyDefinition, load, run_folder
from bench.study.rounds import confirm_seeds, read_looks
from bench.study.winner import trial_ends, winner
from reports.looks import Look


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """A trial or a confirm run."""

    system: str
    kind: str
    """"trial" or "confirm"."""
    slot: int
    state: State
    num_epochs: int
    """Epochs that the run may take."""
    epoch: float = 0.0
    loss: float | None = None
    """The last training loss."""
    valid_wers: tuple[float, ...] = ()
    """One per evaluation."""
    seconds: float = 0.0
    """Wall time of the run, over all resumes, up to its last record."""
    silent_seconds: float | None = None
    """Wall time since the last record, for a run that has not ended."""

    @property
    def has_ended(self) -> bool:
        """True if the run will not be resumed."""
        return self.state in ENDS


@dataclass(frozen=True, kw_only=True)
class RoundProgress:
    """The rounds of a study whose seeds are added at planned looks."""

    number: int
    """Of the round in progress, from 1; of the last once the study is over."""
    seeds: Mapping[str, int]
    """Confirm runs of each system at the end of the round, by label."""
    most_seeds: int
    """Of a system, at the plan's last look."""
    num_decided: int
    """Pairs, of `num_pairs`, which are 0 before the first look."""
    num_pairs: int
    last_look: str
    """A sentence; "" before the first."""
    is_last: bool
    """Whether the last look was taken."""


@dataclass(frozen=True, kw_only=True)
class StudyProgress:
    """A study at one moment."""

    study: str
    num_ended: int
    num_planned: int
    runs: tuple[RunProgress, ...]
    """Every slot and every confirm run, system by system in the order of the study."""
    seconds_left: float | None
    """See `estimate_seconds_left`; None before anything was measured. Of this round."""
    round: "RoundProgress | None" = None
    """Of a study with planned looks."""

    @property
    def is_over(self) -> bool:
        """True once every slot and every confirm run has ended, and the last look was taken."""
        is_last = self.round is None or self.round.is_last
        return is_last and self.num_ended == self.num_planned

    def of(self, system: str, kind: str) -> list[RunProgress]:
        """The runs of one system and kind."""
        return [run for run in self.runs if (run.system, run.kind) == (system, kind)]

    @property
    def running(self) -> list[RunProgress]:
        """Those that have begun and not ended."""
        return [run for run in self.runs if run.state == State.RUNNING]

    def best(self, system: str, kind: str) -> float | None:
        """The lowest valid WER of the runs of `system` that trained as far as the budget goes."""
        ended = [run for run in self.of(system, kind) if run.state in TRAINED]
        return min((wer for run in ended for wer in run.valid_wers), default=None)

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        systems = list(dict.fromkeys(run.system for run in self.runs))
        return {
            **asdict(self),
            "is_over": self.is_over,
            "best": {
                name: {kind: self.best(name, kind) for kind in ("trial", "confirm")}
                for name in systems
            },
        }


class ProgressReader:
    """Reads a study repeatedly; ended runs are read once."""

    def __init__(self, folder: Path) -> None:
        """Open the study in `folder`.

        Raises:
            UserError: no study is there, or its file is damaged.
        """
        self._folder = folder
        self._definition: StudyDefinition = load(folder)
        self._ended: dict[Path, RunProgress] = {}
        self._narrow_systems: frozenset[str] | None = None

    def read(self, now: datetime | None = None) -> StudyProgress:
        """The study at this moment; `silent_seconds` count up to `now` (default: the current time).

        Raises:
            UserError: a record of a newer version, or a line that is not JSON.
        """
        looks = read_looks(self._folder)  # first: a look gives more runs, never fewer
        seeds = confirm_seeds(self._definition, looks)
        runs = tuple(self._runs(seeds, now or datetime.fromisoformat(timestamp())))
        return StudyProgress(
            study=self._definition.name,
            num_ended=sum(run.has_ended for run in runs),
            num_planned=len(runs),
            runs=runs,
            seconds_left=estimate_seconds_left(runs),
            round=_round(self._definition, looks, seeds, self._narrow(looks)),
        )

    def _narrow(self, looks: Sequence[Look]) -> frozenset[str]:
        if not looks:
            return frozenset()
        if self._narrow_systems is None:  # read once: every trial has ended before the first look
            self._narrow_systems = narrow_systems(self._definition, self._folder)
        return self._narrow_systems

    def _runs(self, seeds: Mapping[str, int], now: datetime) -> Iterator[RunProgress]:
        budget = self._definition.budget
        for label in self._definition.systems:
            trials = []
            for slot in range(budget.num_trials):
                folder = run_folder(self._folder, label, "trial", slot)
                trials.append(self._run(folder, label, "trial", slot, budget.search_epochs, now))
            yield from trials
            if all(t.has_ended for t in trials):
                ends = trial_ends(self._folder, self._definition, label)
                if winner(ends, budget.rungs) is None:
                    continue  # nothing to confirm
            for slot in range(seeds[label]):
                folder = run_folder(self._folder, label, "confirm", slot)
                yield self._run(folder, label, "confirm", slot, budget.confirm_epochs, now)

    def _run(
        self, folder: Path, system: str, kind: str, slot: int, num_epochs: int, now: datetime
    ) -> RunProgress:
        if folder in self._ended:
            return self._ended[folder]
        read = RunProgress(
            system=system, kind=kind, slot=slot, state=State.WAITING, num_epochs=num_epochs
        )
        # Before the curves: of a run that ends in between they are then complete.
        state = read_state(folder)
        if state == State.WAITING:
            return read
        is_open = state == State.RUNNING
        read = _with_curves(replace(read, state=state), folder, now if is_open else None)
        if read.has_ended:
            self._ended[folder] = read
        return read


def _round(
    definition: StudyDefinition,
    looks: Sequence[Look],
    seeds: Mapping[str, int],
    narrow: Collection[str],
) -> RoundProgress | None:
    if definition.plan is None:
        return None
    is_last = bool(looks) and looks[-1].is_last
    pairs = looks[-1].pairs if looks else ()
    return RoundProgress(
        number=len(looks) + (not is_last),
        seeds=seeds,
        most_seeds=definition.plan.looks[-1],
        num_decided=sum(not pair.is_open for pair in pairs),
        num_pairs=len(pairs),
        last_look=look_sentence(looks[-1], narrow) if looks else "",
        is_last=is_last,
    )


def estimate_seconds_left(runs: tuple[RunProgress, ...]) -> float | None:
    """Estimated wall time until the last run ends, if as many runs stay in progress as now.

    The expected time of a run in progress is extrapolated from its own pace; that of a waiting run
    is the mean of ended runs of its kind, of its system if there are any; else its number of
    epochs at the mean pace of other runs. A cap on seconds may end a run sooner. None if nothing
    has been measured yet.
    """
    todo = [run for run in runs if not run.has_ended]
    if not todo:
        return 0.0
    needed = []
    for run in todo:
        expected = _expected_seconds(run, runs)
        if expected is None:
            return None
        needed.append(max(0.0, expected - run.seconds))
    # The work left divided among the places, but no less than the longest run left, which no
    # further place can shorten.
    at_once = max(1, sum(run.state == State.RUNNING for run in todo))
    return max(sum(needed) / at_once, max(needed))


def _expected_seconds(run: RunProgress, runs: tuple[RunProgress, ...]) -> float | None:
    # From the best evidence to the weakest: the run's own pace, runs of its kind that have ended
    # (of its system, else of any), the pace of any run.
    if run.state == State.RUNNING and run.epoch > 0:
        return run.seconds * run.num_epochs / run.epoch
    alike = [r for r in runs if r.kind == run.kind]
    own = [r for r in alike if r.system == run.system]
    for group in (own, alike):
        ended = [r.seconds for r in group if r.has_ended and r.seconds > 0]
        if ended:
            return sum(ended) / len(ended)
    paces = [r.seconds / r.epoch for r in runs if r.epoch > 0]
    return run.num_epochs * sum(paces) / len(paces) if paces else None


def _with_curves(run: RunProgress, folder: Path, now: datetime | None) -> RunProgress:
    """`run` with what metrics.jsonl says; for a run that has not ended (`now` is given), also with
    the time since its last line."""
    points = list(read_lines(folder / METRICS, MetricPoint))
    last = {point["key"]: point["value"] for point in points}
    run = replace(
        run,
        epoch=points[-1]["epoch"] if points else 0.0,
        loss=last.get("train/loss"),
        valid_wers=tuple(point["value"] for point in points if point["key"] == OBJECTIVE),
        seconds=last.get("train/seconds", 0.0),
    )
    if now is None:
        return run
    # A run that has just been opened, or resumed, has not been silent since its last point.
    opened = datetime.fromisoformat(read_run(folder)["opened_at"])
    last_ms = max([round(opened.timestamp() * 1000), *(p["timestamp_ms"] for p in points[-1:])])
    return replace(run, silent_seconds=max(0.0, now.timestamp() - last_ms / 1000))
