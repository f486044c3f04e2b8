"""A study for Python and notebooks: ``from bench import Study``.

The frames are those that the report is made of; `bench.runs.reader.COLUMNS` and
`reports.input.COLUMNS` state their columns, docs/from-python.md explains them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from bench.core.errors import UserError
from bench.data.audio import read_audio
from bench.data.features import CorpusStats
from bench.results.checkpoints import best_checkpoint
from bench.results.comparison import StudyComparison, compare
from bench.runs import Tables, read_study
from bench.study.definition import StudyDefinition, find_study, load
from bench.training.checkpoint import load_model, load_stats
from bench.training.config import RunConfig
from bench.training.device import resolve_device
from bench.training.evaluate import transcribe
from variants.spec import AcousticModel


@dataclass(frozen=True)
class TrainedModel:
    """A trained network with what it takes to use it."""

    checkpoint: Path
    network: AcousticModel
    """In evaluation mode."""
    config: RunConfig
    stats: CorpusStats | None
    device: torch.device

    def transcribe(self, audio: str | Path, *, channel: int | None = None) -> str:
        """The text of a recording: WAV, FLAC, OGG, MP3, SPH or RAW, at any rate.

        Raises:
            UserError: it cannot be read, or has several channels and none is chosen.
        """
        rate = self.config.features.sample_rate_hz
        waveform_N = read_audio(Path(audio), channel=channel, sample_rate_hz=rate)
        return transcribe(self.network, self.config, waveform_N, self.device, self.stats)


class Study:
    """A study on disk, running or over. Its files are read once, when they are first needed."""

    def __init__(self, name: str | Path) -> None:
        """`name` is that of a study in ``out/``, or its folder.

        Raises:
            UserError: there is none, or it was written by another version.
        """
        self.folder = find_study(str(name))
        self.definition: StudyDefinition = load(self.folder)

    def __repr__(self) -> str:
        systems = ", ".join(self.definition.systems)
        return f"Study({str(self.folder)!r}): {systems}; {len(self.runs)} runs"

    @cached_property
    def _tables(self) -> Tables:
        return read_study(self.folder)

    @property
    def runs(self) -> pd.DataFrame:
        """One row a run, trial or confirm."""
        return self._tables.runs

    @property
    def trials(self) -> pd.DataFrame:
        """The rows of `runs` that are trials of the search, each searched setting a column."""
        trials = self.runs[self.runs["kind"] == "trial"].reset_index(drop=True)
        settings = pd.DataFrame(list(trials["params"]), index=trials.index)
        return trials.drop(columns="params").join(settings)

    @property
    def curves(self) -> pd.DataFrame:
        """One row a run, metric and step."""
        return self._tables.curves

    @property
    def utterances(self) -> pd.DataFrame:
        """One row a test utterance that a confirm run has scored."""
        return self._tables.utterances

    @cached_property
    def comparison(self) -> StudyComparison:
        """Who is better: the frames `systems` and `pairs`, and the `verdict` in words."""
        return compare(self.definition, self._tables)

    def best_model(self, system: str | None = None, *, device: str = "auto") -> TrainedModel:
        """The confirm run with the lowest valid WER; the test split chooses nothing.

        Args:
            system: its label; None: of all systems.
            device: "cpu", "cuda" or "auto".

        Raises:
            UserError: no such system, or it has no finished confirm run.
        """
        runs = self.runs
        if system is not None:
            if system not in self.definition.systems:
                known = ", ".join(self.definition.systems)
                raise UserError(f"unknown system {system!r}; known: {known}")
            runs = runs[runs["system"] == system]
        path = best_checkpoint(self.folder, runs)
        if path is None:
            whose = "" if system is None else f" of {system}"
            raise UserError(
                f"{self.folder} holds no finished confirm run{whose}; run python -m bench.sweep"
            )
        where = resolve_device(device)
        network, config = load_model(path, where)
        return TrainedModel(path, network, config, load_stats(path), where)

    @cached_property
    def _best(self) -> TrainedModel:
        return self.best_model()

    def transcribe(self, audio: str | Path, *, channel: int | None = None) -> str:
        """The text of a recording, by `best_model`.

        Raises:
            UserError: as `best_model` and `TrainedModel.transcribe`.
        """
        return self._best.transcribe(audio, channel=channel)
