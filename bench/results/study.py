"""Studies and trained networks by name: for Python and notebooks (``from bench import Study``), and
for the flags of commands.

The frames are those that the report is made of; `bench.runs.reader.TABLES` and
`reports.columns.COLUMNS` state their columns, docs/from-python.md explains them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.data.audio import read_audio
from bench.data.utterance import Snippet
from bench.decoding import Decoder, greedy
from bench.results.comparison import StudyComparison, compare
from bench.runs import Tables, confirm_checkpoints, read_study
from bench.study.definition import (
    StudyDefinition,
    find_study,
    load,
    studies_newest_first,
)
from bench.study.rounds import read_looks
from bench.training.checkpoint import TrainedNetwork, load_model
from bench.training.device import resolve_device
from bench.training.evaluate import transcribe


@dataclass(frozen=True)
class TrainedModel(TrainedNetwork):
    """A trained network with what it takes to use it, and where it is."""

    checkpoint: Path
    device: torch.device

    @classmethod
    def load(cls, checkpoint: Path, device: str) -> "TrainedModel":
        """The network of `checkpoint`, on "cpu", "cuda" or "auto".

        Raises:
            UserError: no such device, or no checkpoint that can be used.
        """
        where = resolve_device(device)
        return cls(**vars(load_model(checkpoint, where)), checkpoint=checkpoint, device=where)

    def transcribe(
        self,
        audio: str | Path,
        *,
        channel: int | None = None,
        snippet: Snippet | None = None,
        decoder: Decoder = greedy,
    ) -> str:
        """The text of a recording, or a part of it: WAV, FLAC, OGG, MP3, SPH or RAW, at any rate.

        Raises:
            UserError: it cannot be read, or has several channels and none is chosen.
        """
        rate = self.config.features.sample_rate_hz
        waveform_N = read_audio(Path(audio), channel=channel, sample_rate_hz=rate, snippet=snippet)
        return transcribe(self, waveform_N, self.device, decoder)


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
        return compare(self.definition, self._tables, read_looks(self.folder))

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
        return TrainedModel.load(path, device)

    @cached_property
    def _best(self) -> TrainedModel:
        return self.best_model()

    def transcribe(self, audio: str | Path, *, channel: int | None = None) -> str:
        """The text of a recording, by `best_model`.

        Raises:
            UserError: as `best_model` and `TrainedModel.transcribe`.
        """
        return self._best.transcribe(audio, channel=channel)


def chosen_studies(names: Sequence[str], what: str, *, may_be_none: bool = False) -> list[Path]:
    """The folders of the studies `names`; without names all below ``out/``, the newest first.

    Raises:
        UserError: no such study; or none at all, unless there `may_be_none`. `what` is what the
            command would do with one.
    """
    found = [find_study(name) for name in names] or studies_newest_first()
    if not (found or may_be_none):
        raise UserError(
            f"there is no study in {OUT}/ to {what}; begin one with python -m bench.sweep"
        )
    return found


def find_checkpoint(checkpoint: Path | None, study: str | None) -> Path:
    """`checkpoint` if given, else the best one of `study`, else that of the newest study with one.

    Raises:
        UserError: both are given; no such file, or no study with a finished confirm run.
    """
    if checkpoint is not None:
        if study is not None:
            raise UserError(
                f"a network is of a --checkpoint or a --study, got both ({study}); name one"
            )
        if not checkpoint.is_file():
            raise UserError(
                f"--checkpoint names a file, {checkpoint} is none; see out/*/runs/*/*/checkpoints"
            )
        return checkpoint
    for folder in [find_study(study)] if study is not None else studies_newest_first():
        best = best_checkpoint(folder, read_study(folder).runs)
        if best is not None:
            return best
    where = f"study {study!r}" if study is not None else f"{OUT}/"
    raise UserError(
        f"{where} holds no finished confirm run; run python -m bench.sweep, or give --checkpoint"
    )


def best_checkpoint(folder: Path, runs: pd.DataFrame) -> Path | None:
    """The best checkpoint of `runs`, some of the study in `folder`; None if none has ended well."""
    return next((path for _, path in confirm_checkpoints(folder, runs)), None)
