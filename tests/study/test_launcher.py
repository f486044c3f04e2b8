"""Forty slots, several workers, several launchers: each slot once, nobody idle."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import pytest
from optuna.trial import TrialState

from bench.core.errors import TemporaryError
from bench.core.paths import OUT
from bench.data.corpora import CorpusConfig, load_corpus
from bench.data.utterance import Corpus
from bench.study.definition import StudyDefinition, begin_or_return, define
from bench.study.engine import LocalEngine
from bench.study.launcher import Launcher
from bench.study.queue import SlotQueue
from bench.study.space import load_budget
from bench.study.storage import QueueStorage
from bench.tracking import StudyTracker, TrackingTarget
from tests.postgresql import PostgreSQL

NUM_SLOTS = 40
SETTINGS = {"model.width": 16, "model.convs": [[16, 11, 3]]}


@pytest.fixture
def definition(tmp_path: Path, tone_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> StudyDefinition:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    rows = [
        {"id": u.id, "audio_filepath": str(u.audio), "duration": u.seconds, "text": u.text, "speaker": u.speaker, "split": u.split}
        for u in tone_corpus.utterances
    ]  # fmt: skip
    path = tmp_path / "tones.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = CorpusConfig.parse(f"manifest:{path}")
    budget = replace(load_budget("smoke"), num_trials=NUM_SLOTS, search_epochs=4, num_seeds=1)
    made = define(["ds-gru"], corpus, budget, seed=0, device="cpu", settings=SETTINGS, name="forty")
    return replace(made, data_digest=load_corpus(corpus).digest)


@pytest.fixture(params=["journal", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "journal":
        yield None
        return
    with PostgreSQL() as server:
        yield server.url


def launch(definition: StudyDefinition, url: str | None, num_workers: int) -> None:
    """What bench.sweep does between its preparations and its report."""
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    parents = {"ds-gru": StudyTracker.open(definition.name).parent("ds-gru")}
    with closing(QueueStorage(url, folder, num_workers=num_workers)) as storage:
        Launcher(
            folder,
            definition,
            storage,
            LocalEngine(num_workers, 1),
            storage_url=url,
            grace_seconds=10.0,
            parents=parents,
        ).run()


def slots_of(definition: StudyDefinition, url: str | None) -> list[TrialState]:
    folder = OUT / definition.name
    with closing(QueueStorage(url, folder, num_workers=1)) as storage:
        return [slot.state for slot in SlotQueue(definition, "ds-gru", folder, storage).slots()]


def spans(definition: StudyDefinition) -> list[tuple[float, float]]:
    """When each trial was begun and when it ended, in seconds."""
    found = []
    for folder in (OUT / definition.name / "runs" / "ds-gru").glob("trial-*"):
        run, summary = (json.loads((folder / f"{n}.json").read_text()) for n in ("run", "summary"))
        assert (run["attempt"], summary["state"] in ("finished", "pruned")) == (1, True)
        times = (run["started_at"], summary["ended_at"])
        found.append(tuple(datetime.fromisoformat(t).timestamp() for t in times))
    return sorted(found)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 4])
def test_forty_slots_are_run_once_each(
    definition: StudyDefinition, url: str | None, num_workers: int
) -> None:
    began = time.monotonic()
    launch(definition, url, num_workers)
    wall = time.monotonic() - began
    states = slots_of(definition, url)
    assert len(states) == NUM_SLOTS
    assert {state.name for state in states} <= {"COMPLETE", "PRUNED"}
    done = spans(definition)
    assert len(done) == NUM_SLOTS
    busy = sum(end - start for start, end in done)
    first, last = done[0][0], max(end for _, end in done)
    print(
        f"\n{'journal' if url is None else 'postgresql'}, {num_workers} workers: {wall:.0f} s in all, "
        f"trials {last - first:.0f} s, inside a run {busy / (last - first):.2f} workers at a time"
    )


def test_a_launcher_looks_whether_it_shall_stop(
    definition: StudyDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For where a library has swallowed what the signal raised."""
    folder = OUT / definition.name
    begin_or_return(folder, definition)
    target = TrackingTarget(uri="http://127.0.0.1:9")
    engine = LocalEngine(1, 1)
    monkeypatch.setattr(engine, "start", lambda _: pytest.fail("began a trial"))

    def check_stop() -> None:
        raise TemporaryError("stopped by SIGTERM")

    with closing(QueueStorage(None, folder, num_workers=1)) as storage:
        launcher = Launcher(
            folder,
            definition,
            storage,
            engine,
            storage_url=None,
            grace_seconds=10.0,
            parents={"ds-gru": target},
        )
        with pytest.raises(TemporaryError, match="SIGTERM"):
            launcher.run(check_stop)


@pytest.mark.slow
def test_eight_launchers_begin_at_the_same_moment(
    definition: StudyDefinition, url: str | None
) -> None:
    few = replace(definition, budget=replace(definition.budget, num_trials=8))
    context = get_context("spawn")
    launchers = [context.Process(target=launch, args=(few, url, 1)) for _ in range(8)]
    for process in launchers:
        process.start()
    for process in launchers:
        process.join(300)
    assert [process.exitcode for process in launchers] == [0] * 8
    assert len(slots_of(few, url)) == 8
    assert len(spans(few)) == 8
