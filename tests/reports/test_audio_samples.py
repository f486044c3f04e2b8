import base64
import io
from collections.abc import Callable
from dataclasses import replace

import matplotlib.image
import numpy as np

from reports.input import ReportInput
from reports.sections import audio_samples
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_letters_stand_where_they_were_emitted(study: ReportInput) -> None:
    (view,) = audio_samples.numbers(study).samples
    assert [name for name, *_ in view.rows] == ["ds-gru", "ds-lstm"]
    name, text, letters = view.rows[1]
    assert (name, text) == ("ds-lstm", "h i")
    assert [(x.symbol, x.left, x.is_unsure) for x in letters] == [
        ("h", 20.0, False),
        ("␣", 50.0, False),
        ("i", 80.0, True),
    ]
    assert view.ticks == (("0", 0.0), ("0.5", 33.33), ("1", 66.67), ("1.5 s", 100.0))
    content = base64.b64decode(view.audio.removeprefix("data:audio/flac;base64,"))
    assert content.startswith(b"fLaC")


def test_the_picture_holds_the_levels() -> None:
    grey = np.array([[0, 128, 255], [1, 2, 3]], dtype=np.uint8)
    picture = matplotlib.image.imread(io.BytesIO(audio_samples.png(grey)), format="png")
    assert np.rint(255 * picture).tolist() == [[255, 127, 0], [254, 253, 252]]


def test_missing_recordings_are_told_from_unwanted_ones(study: ReportInput) -> None:
    assert "No recordings" in markup(
        audio_samples, audio_samples.numbers(replace(study, samples=()))
    )
    assert "--no-audio" in markup(
        audio_samples, audio_samples.numbers(replace(study, samples=None))
    )


def test_hostile_texts_are_text(study: ReportInput) -> None:
    assert study.samples
    evil = '"><script>x</script>' + "y" * 10_000
    samples = (replace(study.samples[0], id=evil, speaker=evil, ref=evil),)
    assert "<script" not in markup(
        audio_samples, audio_samples.numbers(replace(study, samples=samples))
    )
