"""LibriSpeech's size: a store of a thousand hours is trained from without being loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NUM_UTTERANCES, SECONDS = 288_000, 12.5

# In a process of its own, whose memory is that of this run alone.
TRAIN = """
import json, resource, sys
from pathlib import Path

import numpy as np
import torch

from bench.core.config import to_dict, updated
from bench.data.batches import Dataset
from bench.data.corpora import CorpusConfig
from bench.data.features import FeatureConfig
from bench.data.store import FeatureStore
from bench.data.units import LETTERS
from bench.data.utterance import Utterance
from bench.training.config import build_model, default_run_config
from bench.training.loop import TrainingData, train

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

folder, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
config = updated(
    default_run_config("ds-gru", CorpusConfig()),
    {
        "features.num_bins": 80, "model.width": 32, "model.num_layers": 1,
        "model.convs": [[32, 11, 4]], "training.num_epochs": 2, "training.log_every_steps": 10,
    },
)
model = build_model(config)
torch.nn.Linear(8, 8)(torch.randn(4, 8)).sum().backward()
before = resident_bytes()

# The file has its full length and no blocks on the disk: every frame reads as zeros.
ids = [f"{n:07d}" for n in range(count)]
num_frames = int(seconds * 100)
store_folder = folder / "store"
store_folder.mkdir()
np.save(store_folder / "num_frames.npy", np.full(count, num_frames, np.int64))
(store_folder / "ids.json").write_text(json.dumps(ids))
meta = {"config": to_dict(config.features), "stats": None}
(store_folder / "meta.json").write_text(json.dumps(meta))
with (store_folder / "feats.f16").open("wb") as file:
    file.truncate(count * num_frames * 80 * 2)
(store_folder / ".completed").touch()
store = FeatureStore(store_folder)

def utterances(chosen, split):
    return [
        Utterance(
            id=id, audio=Path("none"), sample_rate_hz=16_000, channel=None, split=split,
            text="he said that it was so and so it was", speaker=id[:4], seconds=seconds,
            audio_digest="",
        )
        for id in chosen
    ]

data = TrainingData(
    train=Dataset(utterances(ids[20:], "train"), store, LETTERS),
    valid=Dataset(utterances(ids[:20], "valid"), store, LETTERS),
    watch=Dataset((), store, LETTERS),
)
hours = data.train.seconds / 3600
result = train(
    config, model, data, device=torch.device("cpu"), directory=folder / "run",
    report=lambda progress: progress.step >= 40,
)
print(json.dumps({
    "hours": hours,
    "num_steps": result.num_steps,
    "grown_bytes": result.peak_memory_bytes - before,
}))
"""


@pytest.mark.slow
def test_a_thousand_hours_are_trained_from_in_two_gib(tmp_path: Path) -> None:
    arguments = [str(tmp_path), str(NUM_UTTERANCES), str(SECONDS)]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert found["hours"] > 999
    assert found["num_steps"] == 40
    assert found["grown_bytes"] < 2 * 2**30
