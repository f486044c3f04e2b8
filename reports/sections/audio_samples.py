"""Audio samples: a few test utterances, each with its recording, its spectrogram, and the
letters of each system at the times when CTC emitted them."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reports.input import Letter, ReportInput
from reports.palette import system_names
from reports.scale import scale_of

TITLE = "Audio samples"

UNSURE = 0.5
"""A letter of less probability is drawn faint."""


@dataclass(frozen=True)
class Placed:
    """A letter and where it stands, in percent of the utterance."""

    symbol: str
    left: float
    is_unsure: bool
    said: str
    """For the reader who points at it."""


@dataclass(frozen=True)
class SampleView:
    """An utterance as the page plays it."""

    id: str
    speaker: str
    ref: str
    seconds: float
    audio: str
    """A data: address, as is `image`."""
    image: str
    rows: tuple[tuple[str, str, tuple[Placed, ...]], ...]
    """Each system: name, its text, its letters."""
    ticks: tuple[tuple[str, float], ...]
    """Of the axis of time: seconds, and where they stand in percent of the utterance."""


@dataclass(frozen=True)
class Numbers:
    """What the section shows."""

    samples: tuple[SampleView, ...]
    wanted: bool
    """False if the user left recordings out."""


def numbers(report_input: ReportInput) -> Numbers:
    """The samples with every letter placed on the axis of time."""
    if report_input.samples is None:
        return Numbers((), wanted=False)
    views = []
    for sample in report_input.samples:
        rows = tuple(
            (name, "".join(letter.symbol for letter in letters),
             tuple(_placed(letter, sample.seconds) for letter in letters))
            for name in system_names(report_input)
            if (letters := sample.letters.get(name)) is not None
        )  # fmt: skip
        views.append(
            SampleView(
                id=sample.id,
                speaker=sample.speaker,
                ref=sample.ref,
                seconds=sample.seconds,
                audio=_address("audio/flac", sample.flac),
                image=_address("image/png", png(sample.spectrogram)),
                rows=rows,
                ticks=_ticks(sample.seconds),
            )
        )
    return Numbers(tuple(views), wanted=True)


def png(grey: NDArray[np.uint8]) -> bytes:
    """8-bit grey levels (rows, columns) as a PNG file, dark where they are high."""
    file = io.BytesIO()
    Image.fromarray(255 - grey).save(file, "PNG", optimize=True)
    return file.getvalue()


def _placed(letter: Letter, seconds: float) -> Placed:
    return Placed(
        symbol=letter.symbol.replace(" ", "␣"),
        left=round(100 * letter.seconds / seconds, 2),
        is_unsure=letter.probability < UNSURE,
        said=f"{letter.seconds:.2f} s, probability {letter.probability:.2f}",
    )


def _ticks(seconds: float) -> tuple[tuple[str, float], ...]:
    """Round times up to the end, which has the unit."""
    scale = scale_of([0.0, seconds])
    inside = [tick for tick in scale.ticks if tick <= seconds] if scale else []
    return tuple(
        (f"{tick:g}" + (" s" if tick == inside[-1] else ""), round(100 * tick / seconds, 2))
        for tick in inside
    )


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
