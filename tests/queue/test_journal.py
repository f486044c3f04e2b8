"""The journal survives a full disk, and what a killed writer left."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage

from bench.core.errors import UnwritableError
from bench.queue import journal
from bench.queue.journal import WholeLinesBackend

LittleRoom = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "optuna.journal"


def study(path: Path) -> optuna.Study:
    storage = JournalStorage(WholeLinesBackend(path))
    return optuna.create_study(storage=storage, study_name="s", load_if_exists=True)


def test_what_one_process_writes_another_reads(path: Path) -> None:
    study(path).enqueue_trial({"x": 1.0})
    (trial,) = study(path).get_trials()
    assert trial.system_attrs["fixed_params"] == {"x": 1.0}


def test_a_full_disk_leaves_whole_lines_and_the_study_resumes(
    path: Path, little_room: LittleRoom
) -> None:
    begun = study(path)
    begun.enqueue_trial({"x": 1.0})
    whole = path.read_bytes()
    expected = r"optuna\.journal cannot be written \(File too large\); make room"
    with little_room(len(whole) + 20), pytest.raises(UnwritableError, match=expected):
        begun.enqueue_trial({"x": 2.0})
    assert path.read_bytes() == whole
    begun.enqueue_trial({"x": 3.0})
    values = [trial.system_attrs["fixed_params"]["x"] for trial in study(path).get_trials()]
    assert values == [1.0, 3.0]


def test_a_torn_line_does_not_swallow_the_next(path: Path) -> None:
    study(path).enqueue_trial({"x": 1.0})
    with path.open("a") as handle:
        handle.write('{"op_code": 4, "worker')
    study(path).enqueue_trial({"x": 2.0})
    assert len(study(path).get_trials()) == 2


def test_the_lock_of_a_killed_process_is_taken_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(journal, "LOCK_GRACE_SECONDS", 3)
    path = Path("out/optuna.journal")
    path.parent.mkdir()
    script = (
        "import os, sys; from pathlib import Path; from bench.queue.journal import *\n"
        "WholeLinesBackend(Path(sys.argv[1]))._lock.acquire(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    assert len(list(path.parent.iterdir())) == 2
    writer = threading.Thread(target=study, args=(path,), daemon=True)
    writer.start()
    writer.join(30)
    assert not writer.is_alive(), "it waits for the dead"
    assert [p.name for p in path.parent.iterdir()] == ["optuna.journal"]
