"""docs/your-own-data.md, the sections on libraries: followed literally in an empty folder."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def blocks(title: str) -> list[tuple[str, str]]:
    """Language and text of each block in the section `title`."""
    page = (ROOT / "docs/your-own-data.md").read_text("utf-8")
    section = re.split(r"^## ", page.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]
    found = [(match[1], match[2]) for match in BLOCK.finditer(section)]
    assert found, title
    return found


def recordings(folder: Path) -> list[Path]:
    paths = [folder / f"{split}.wav" for split in ("train", "dev", "test")]
    for seed, path in enumerate(paths):
        samples = np.random.default_rng(seed).uniform(-0.3, 0.3, 16_000)
        soundfile.write(path, samples, 16_000)
    return paths


def hugging_face(folder: Path) -> dict[str, Any]:
    """A corpus in place of the one that the page downloads."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    parts = {}
    for path in recordings(folder):
        audio = [{"bytes": path.read_bytes(), "path": path.name}]
        columns = {"audio": audio, "sentence": ["red boat"], "reader": ["ann"]}
        made = datasets.Dataset.from_dict(columns)
        parts[path.stem] = made.cast_column("audio", datasets.Audio(decode=False))
    return {"load_dataset": lambda name: datasets.DatasetDict(parts)}


def lhotse_cuts(folder: Path) -> dict[str, Any]:
    """The manifests that the page begins with, and cuts of the splits that it leaves to say."""
    lhotse = pytest.importorskip("lhotse")
    (folder / "data").mkdir()
    manifests = {}
    for path in recordings(folder):
        recording = lhotse.Recording.from_file(path)
        said = lhotse.SupervisionSegment(
            id=path.stem, recording_id=recording.id, start=0, duration=1, text="red boat"
        )
        manifests[path.stem] = {
            "recordings": lhotse.RecordingSet.from_recordings([recording]),
            "supervisions": lhotse.SupervisionSet.from_segments([said]),
        }
        cuts = lhotse.CutSet.from_manifests(**manifests[path.stem])
        cuts.to_file(folder / f"data/cuts_{path.stem}.jsonl.gz")
    return manifests["train"]


@pytest.mark.parametrize(
    ("title", "given"), [("Hugging Face datasets", hugging_face), ("Lhotse cuts", lhotse_cuts)]
)
def test_the_section_works_as_written(
    title: str,
    given: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    names = given(tmp_path)
    for language, text in blocks(title):
        if language == "python":
            code = re.sub(r"^from datasets import.*", "", text)
            exec(compile(code, title, "exec"), names)
        for line in text.splitlines() if language == "sh" else ():
            if "bench." not in line:
                assert "pip install 'deepspeech-bench[" in line
                continue
            command = [sys.executable, *shlex.split(line)[1:]]
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert re.search(r"^train +1 +1 .*\nvalid +1 .*\ntest +1 ", done.stdout, re.MULTILINE)
