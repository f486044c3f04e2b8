"""bench.check: what a corpus holds, faults included, before anybody trains."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 16_000
WORDS = ("red", "old dog", "a house", "near the sea", "under boats", "we went", "small saws")


@pytest.fixture
def run(run: Callable[..., Any]) -> Callable[..., Any]:
    return partial(run, "check")


def write(path: Path, seconds: float, seed: int, scale: float = 0.3) -> str:
    samples = np.clip(
        scale * np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE)), -1, 1
    )
    soundfile.write(path, samples, RATE)
    return path.name


def sound_rows(folder: Path) -> list[dict[str, Any]]:
    """14 utterances of two splits at about 10 letters a second."""
    rows = []
    for split, speaker in (("train", "ann"), ("test", "bob")):
        for number, text in enumerate(WORDS):
            text = f"{text} {'now' if split == 'train' else 'then'}"
            seconds = len(text.replace(" ", "")) / 10
            name = f"{split}-{number}.wav"
            write(folder / name, seconds, seed=len(rows))
            rows.append(
                {
                    "audio_filepath": name,
                    "text": text,
                    "speaker": speaker,
                    "split": split,
                    "duration": seconds,
                }
            )
    return rows


def manifest(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "all.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return f"manifest:{path}"


def test_a_sound_corpus_is_counted(run: Any, tmp_path: Path) -> None:
    corpus = manifest(tmp_path, sound_rows(tmp_path))
    code, out, err = run("--corpus", corpus, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["left_out"], found["suspicious"], found["symbols"], found["faults"]) == ({}, {}, {}, {})  # fmt: skip
    train = found["splits"]["train"]
    assert (train["utterances"], train["speakers"], train["words"]) == (7, 1, 7 + 14)
    assert train["seconds"] == pytest.approx(
        sum(len((w + "now").replace(" ", "")) for w in WORDS) / 10
    )
    assert set(found["splits"]) == {"train", "test"}
    assert len(found["examples"]) == 3
    code, out, err = run("--corpus", corpus)
    assert (code, err) == (0, "")
    assert "left out: nothing" in out
    assert "test-6 (test, speaker bob" in out


def test_all_that_is_odd_is_counted_and_nothing_stops_it(run: Any, tmp_path: Path) -> None:
    rows = sound_rows(tmp_path)
    base = {"speaker": "ann", "split": "train"}
    write(tmp_path / "quiet.wav", 1.0, seed=90, scale=0.005)
    write(tmp_path / "loud.wav", 1.0, seed=91, scale=1.5)
    write(tmp_path / "far.wav", 9.0, seed=92)
    write(tmp_path / "long.wav", 31.0, seed=93)
    write(tmp_path / "broken.wav", 1.0, seed=94)
    (tmp_path / "broken.wav").write_bytes((tmp_path / "broken.wav").read_bytes()[:9000])
    rows += [
        {**base, "audio_filepath": "quiet.wav", "text": "quiet words"},
        {**base, "audio_filepath": "loud.wav", "text": "loud people"},
        {**base, "audio_filepath": "far.wav", "text": "far away so"},
        {**base, "audio_filepath": "long.wav", "text": "long winded"},
        {**base, "audio_filepath": "broken.wav", "text": "broken bit"},
        {**base, "audio_filepath": "gone.wav", "text": "gone for good"},
        {**base, "audio_filepath": "train-1.wav", "id": "again", "text": "once more so"},
        {**base, "audio_filepath": "train-2.wav", "id": "digits", "text": "café 7 77"},
        {**base, "audio_filepath": "train-3.wav", "id": "empty", "text": " ... "},
        {**base, "audio_filepath": "train-0.wav", "id": "cut", "text": "cut", "offset": 5.0},
        {**base, "audio_filepath": "test-0.wav", "id": "told", "text": "red herring", "duration": 3.0, "split": "test", "speaker": "ann"},
    ]  # fmt: skip
    code, out, _ = run("--corpus", manifest(tmp_path, rows), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["symbols"] == {"7": 3, "é": 1}
    assert found["left_out"] == {
        "longer than 30 s": 1,
        "audio unreadable": 1,
        "audio missing": 1,
        "symbols outside the alphabet": 1,
        "empty transcript": 1,
        "snippet outside its recording": 1,
    }
    assert set(found["faults"]) == {"broken", "gone", "cut"}
    assert found["suspicious"] == {
        "duration differs from the audio's": ["told"],
        "silence": ["quiet"],
        "clipping": ["loud"],
        "letters per second far out": ["far"],
        "audio occurs more than once": ["train-1", "test-0", "again", "told"],
        "train/test same speaker": ["told"],
    }
    assert found["splits"]["train"]["utterances"] == 11
    code, out, _ = run("--corpus", manifest(tmp_path, rows))
    assert code == 0
    for told in (
        "'7' 3, 'é' 1",
        "broken: audio file",
        "ends after",
        "1  silence: quiet",
        "1  audio missing: gone",
    ):
        assert told in out


def test_joined_corpora_are_counted_together(run: Any, tmp_path: Path) -> None:
    places = []
    for name in ("a", "b+c"):
        (tmp_path / name).mkdir()
        rows = sound_rows(tmp_path / name)
        places.append(manifest(tmp_path / name, rows))
    code, out, _ = run("--corpus", "+".join(places), "--json")
    found = json.loads(out)
    assert (code, found["corpus"]) == (0, "manifest+manifest-2")
    assert {split: size["utterances"] for split, size in found["splits"].items()} == {
        "train": 14, "test": 7,
    }  # fmt: skip
    assert found["suspicious"]["audio occurs more than once"][-1] == "manifest-2:train-6"
    code, out, err = run("--corpus", "+".join([*places, "b"]))
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_leakage_and_repeated_texts_name_their_utterances(run: Any, tmp_path: Path) -> None:
    rows = sound_rows(tmp_path)
    rows[7]["text"] = rows[0]["text"]
    rows[8]["audio_filepath"], rows[8]["id"] = rows[1]["audio_filepath"], "copy"
    _, out, _ = run("--corpus", manifest(tmp_path, rows), "--json")
    assert json.loads(out)["suspicious"] == {
        "audio occurs more than once": ["train-1", "copy"],
        "text occurs more than once": ["train-0", "test-0"],
        "train/test same audio": ["copy"],
        "train/test same text": ["test-0"],
    }


def test_a_corpus_of_no_use_ends_with_1(run: Any, tmp_path: Path) -> None:
    rows = [{**row, "text": "7"} for row in sound_rows(tmp_path)]
    code, out, err = run("--corpus", manifest(tmp_path, rows), "--json")
    assert code == 1
    assert json.loads(out)["left_out"] == {"symbols outside the alphabet": 14}
    assert "no utterance of manifest:" in err


def test_without_a_corpus_leakage_is_unknown(run: Any) -> None:
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "a check needs --corpus NAME[:PATH]" in err


def test_it_needs_no_network_library() -> None:
    script = (
        "import sys, bench.check; print({'torch', 'pandas', 'mlflow', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
