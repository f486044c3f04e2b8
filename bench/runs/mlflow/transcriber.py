"""The code of a logged model ("models from code"): MLflow runs this file to load it, no pickle.

`bench.runs.mlflow.model` stores it beside the checkpoint and the sources that it imports.
"""

from pathlib import Path

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from bench.data.audio import read_audio
from bench.training.checkpoint import load_model
from bench.training.device import resolve_device
from bench.training.evaluate import transcribe

CHECKPOINT, EXAMPLE = "checkpoint", "example.wav"


class Transcriber(PythonModel):
    """Paths of recordings in, texts out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint, onto the GPU if there is one."""
        checkpoint = Path(context.artifacts[CHECKPOINT])
        self._device = resolve_device("auto")
        self._trained = load_model(checkpoint, self._device)
        self._example = Path(context.artifacts[EXAMPLE])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, object] | None = None,
    ) -> list[str]:
        """One text a recording.

        Args:
            context: unused; `load_context` has been called.
            model_input: one column of paths: WAV, FLAC, OGG, MP3, SPH or RAW, at any rate. MLflow
                makes it of a single path or a list too.
            params: unused.

        Raises:
            UserError: a recording that cannot be read.
        """
        return [self._text(Path(path)) for path in model_input.iloc[:, 0]]

    def _text(self, audio: Path) -> str:
        if str(audio) == EXAMPLE and not audio.exists():
            audio = self._example  # the model's own, wherever it was brought
        rate = self._trained.config.features.sample_rate_hz
        waveform_N = read_audio(audio, channel=None, sample_rate_hz=rate)
        return transcribe(self._trained, waveform_N, self._device)


set_model(Transcriber())
