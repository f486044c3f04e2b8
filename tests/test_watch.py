"""What bench.watch draws, and that it leaves when the study has ended."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench import watch
from bench.core import cli
from bench.results.progress import ProgressReader, RunProgress, StudyProgress
from bench.watch import curve, draw, duration


def shown(progress: StudyProgress) -> str:
    console = Console(width=100, file=io.StringIO())
    with console.capture() as capture:
        console.print(draw(progress))
    return capture.get()


def trial(slot: int, state: str, **facts: object) -> RunProgress:
    given = {"system": "gru", "kind": "trial", "slot": slot, "state": state, "num_epochs": 4}
    return RunProgress(**(given | facts))  # type: ignore[arg-type]


def study(*runs: RunProgress, left: float | None = 90.0) -> StudyProgress:
    ended = sum(run.has_ended for run in runs)
    return StudyProgress(
        study="[s]", num_ended=ended, num_planned=len(runs), runs=runs, seconds_left=left
    )


def test_a_frame_tells_slots_the_best_and_what_runs() -> None:
    frame = shown(
        study(
            trial(0, "finished", valid_wers=(1.0, 0.25)),
            trial(1, "running", epoch=1.5, loss=2.5, valid_wers=(0.5,), seconds=61.0, silent_seconds=3.0),
            trial(2, "waiting"),
        )
    )  # fmt: skip
    assert "[s]  1 of 3 runs ended, about 2 min left" in frame
    assert "●▶·" in frame
    assert "25.0 %" in frame
    row = next(line for line in frame.splitlines() if line.startswith("gru trial 1"))
    assert row.split() == ["gru", "trial", "1", "1.5", "of", "4", "2.50", "50.0", "%", "█", "1", "min", "3", "s", "ago"]  # fmt: skip
    assert "No new records" not in frame


def test_a_silent_study_says_so_and_an_unmeasured_one_guesses_nothing() -> None:
    frame = shown(study(trial(0, "running", silent_seconds=600.0), left=None))
    assert "No new records: if the sweep was stopped" in frame
    assert "time left is not known yet" in frame


def test_many_slots_are_counted() -> None:
    runs = [trial(slot, "finished" if slot < 41 else "pruned") for slot in range(50)]
    assert "41● 9✂" in shown(study(*runs))
    assert "over" in shown(study(*runs))


def test_a_curve_is_blocks_from_zero_to_its_highest() -> None:
    assert curve(()) == ""
    assert curve((0.0, 0.0)) == "▁▁"
    assert curve((1.0, 0.5, 0.0)) == "█▅▁"
    assert curve(tuple(float(i) for i in range(1, 9)), width=4) == "▃▅▆█"
    assert len(curve((1.0,) * 1000)) == watch.CURVE_WIDTH


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.4, "0 s"), (59.0, "59 s"), (60.0, "1 min"), (3900.0, "1 h 05 min")],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


class ScriptedReader:
    """Stands for a study: a frame a reading."""

    frames = iter(())  # type: ignore[var-annotated]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> StudyProgress:
        frame: StudyProgress = next(self.frames)
        return frame


def watching(monkeypatch: pytest.MonkeyPatch, frames: list[StudyProgress], *flags: str) -> None:
    monkeypatch.setattr(ScriptedReader, "frames", iter(frames))
    monkeypatch.setattr(watch, "ProgressReader", ScriptedReader)
    monkeypatch.setattr(watch, "chosen_studies", lambda names, what: [Path("s")])
    monkeypatch.setattr(watch, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)
    monkeypatch.setattr(sys, "argv", ["watch", *flags])
    cli.run(watch.build_parser(), watch.main)


def test_it_ends_with_the_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    going, over = study(trial(0, "running")), study(trial(0, "finished", valid_wers=(0.5,)))
    watching(monkeypatch, [going, going, over])
    assert "1 of 1 runs ended, over" in capsys.readouterr().out


def test_once_and_json_read_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    going = study(trial(0, "running", valid_wers=(0.5,)))
    watching(monkeypatch, [going], "--once")
    assert "0 of 1 runs ended" in capsys.readouterr().out
    watching(monkeypatch, [going], "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["num_ended"], told["runs"][0]["state"], told["is_over"]) == (0, "running", False)
    assert told["best"] == {"gru": {"trial": None, "confirm": None}}


def test_a_folder_without_a_study_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "ProgressReader", ProgressReader)
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)
    for arguments, rule in (([], "there is no study in out/"), (["nono"], "no study 'nono'")):
        monkeypatch.setattr(sys, "argv", ["watch", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.run(watch.build_parser(), watch.main)
        assert end.value.code == 2
        assert rule in capsys.readouterr().err
