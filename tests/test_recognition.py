"""bench.transcribe and bench.evaluate with a checkpoint, as their users meet them."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bench.data.features import CorpusStats
from bench.data.utterance import Corpus
from tests.babbler import STREAMING, saved_babbler
from tests.tones import write_table

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return saved_babbler(tmp_path / "best.pt")


def test_good_recordings_are_transcribed_and_bad_ones_named(
    run: Run, tmp_path: Path, checkpoint: Path, tone_corpus: Corpus
) -> None:
    one, two = (u.audio for u in tone_corpus.split("test")[:2])
    broken = tmp_path / "broken.wav"
    broken.write_bytes(two.read_bytes()[:2000])
    arguments = [str(one), str(broken), str(tmp_path / "gone.wav"), str(two)]
    code, out, err = run("transcribe", "--checkpoint", str(checkpoint), *arguments)
    assert code == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(one), str(two)]
    assert all(line.split("\t")[1] for line in out.splitlines())
    first, second = err.splitlines()
    assert "broken.wav ends after" in first
    assert "gone.wav does not exist" in second
    code, out, err = run("transcribe", "--checkpoint", str(checkpoint), "--json", *arguments)
    assert code == 1
    assert [row["audio"] for row in json.loads(out)] == [str(one), str(two)]
    assert len(err.splitlines()) == 2


def test_folders_are_walked_in_order(
    run: Run, tmp_path: Path, checkpoint: Path, tone_corpus: Corpus
) -> None:
    folder = tmp_path / "recordings"
    audio, rate = soundfile.read(tone_corpus.utterances[0].audio)
    for name in ("b.wav", "a.flac", "deeper/c.WAV"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, audio, rate)
    (folder / "notes.txt").write_text("no recording")
    code, out, err = run("transcribe", "--checkpoint", str(checkpoint), str(folder))
    assert (code, err) == (0, "")
    names = [line.split("\t")[0].removeprefix(f"{folder}/") for line in out.splitlines()]
    assert names == ["a.flac", "b.wav", "deeper/c.WAV"]
    (tmp_path / "empty").mkdir()
    code, out, err = run("transcribe", "--checkpoint", str(checkpoint), str(tmp_path / "empty"))
    assert (code, out) == (2, "")
    assert "no recording is in" in err


def test_a_snippet_is_transcribed(
    run: Run, tmp_path: Path, checkpoint: Path, tone_corpus: Corpus
) -> None:
    one, two = (soundfile.read(u.audio)[0] for u in tone_corpus.split("test")[:2])
    soundfile.write(tmp_path / "both.wav", np.concatenate([one, two]), 16_000)
    soundfile.write(tmp_path / "two.wav", two, 16_000)
    given = ["transcribe", "--checkpoint", str(checkpoint)]
    cut = ["--offset", str(len(one) / 16_000), "--duration", str(len(two) / 16_000)]
    _, expected, _ = run(*given, str(tmp_path / "two.wav"))
    assert run(*given, str(tmp_path / "both.wav"), *cut) == (0, expected, "")
    assert run(*given, str(tmp_path / "both.wav"))[1] != expected
    code, _, err = run(*given, str(tmp_path / "two.wav"), "--offset", "9")
    assert code == 1
    assert "9.00 s to its end does not in" in err
    assert run(*given, str(tmp_path / "two.wav"), "--offset", "nan")[0] == 2
    assert run(*given, str(tmp_path / "two.wav"), "--duration", "0")[0] == 2


def manifest(folder: Path, corpus: Corpus, splits: tuple[str, ...]) -> str:
    return write_table(corpus, folder / f"{'-'.join(splits)}.jsonl", splits)


def test_evaluation_needs_only_what_it_evaluates(
    run: Run, tmp_path: Path, checkpoint: Path, tone_corpus: Corpus
) -> None:
    given = ["evaluate", "--checkpoint", str(checkpoint), "--split", "test", "--json"]
    everything = manifest(tmp_path, tone_corpus, ("train", "valid", "test"))
    _, whole, _ = run(*given, "--corpus", everything)
    code, out, err = run(*given, "--corpus", manifest(tmp_path, tone_corpus, ("test",)))
    assert (code, err) == (0, "")
    assert json.loads(out)["utterances"] == json.loads(whole)["utterances"]
    path = Path(everything.removeprefix("manifest:"))
    broken = {"audio_filepath": "gone.wav", "text": "a", "split": "train"}
    path.write_text(path.read_text() + json.dumps(broken) + "\n")
    assert run(*given, "--corpus", everything)[0] == 0, "a recording of another split"
    code, _, err = run(*given, "--corpus", manifest(tmp_path, tone_corpus, ("train",)))
    assert code == 2
    assert "split 'test' of manifest is empty" in err


def test_evaluation_normalises_as_the_network_was_trained(
    run: Run, tmp_path: Path, tone_corpus: Corpus
) -> None:
    corpus = manifest(tmp_path, tone_corpus, ("test",))
    losses = []
    for std in (1.0, 4.0, 1.0):
        stats = CorpusStats(mean=(0.0,) * 24, std=(std,) * 24)
        path = saved_babbler(tmp_path / "own.pt", stats, **STREAMING)
        given = ["--checkpoint", str(path), "--split", "test", "--json", "--corpus", corpus]
        code, out, err = run("evaluate", *given)
        assert (code, err) == (0, ""), asdict(stats)
        losses.append(json.loads(out)["loss"])
    assert losses[0] == losses[2] != losses[1]


def test_audio_that_cannot_be_used_is_dropped_on_request(
    run: Run, tmp_path: Path, checkpoint: Path, tone_corpus: Corpus
) -> None:
    corpus = manifest(tmp_path, tone_corpus, ("test",))
    path = Path(corpus.removeprefix("manifest:"))
    broken = {"audio_filepath": "gone.wav", "text": "a", "split": "test"}
    path.write_text(path.read_text() + json.dumps(broken) + "\n")
    given = ["evaluate", "--checkpoint", str(checkpoint), "--split", "test", "--corpus", corpus]
    code, _, err = run(*given)
    assert code == 2
    assert "gone.wav does not exist" in err
    assert "--audio drop" in err
    code, out, _ = run(*given, "--audio", "drop", "--json")
    assert code == 0
    assert json.loads(out)["num_utterances"] == 4
