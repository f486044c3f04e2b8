"""The registry."""

import pytest

from variants import VARIANTS, tabulate
from variants.ops.cells import COMPOSED


def test_every_family_is_registered() -> None:
    cells = [direction + cell for direction in ("", "bi") for cell in ("rnn", "gru", "lstm")]
    family = {f"ds-{cell}{form}" for cell in cells for form in ("", "-deep", "-wide")}
    published = {"kur-speech", "deepspeech-pytorch", "deepspeech-pytorch-v1", "mozilla-deepspeech"}
    published |= {"deepspeech1", "deepspeech2", "deepspeech2-online"}
    family |= {f"ds-{way}{cell}" for way in ("", "bi") for cell in COMPOSED}
    assert set(VARIANTS) == family | published | {"ds-gru-lookahead"}


def test_a_duplicate_name_is_an_error_with_both_summaries() -> None:
    gru, lstm = VARIANTS["ds-gru"], VARIANTS["ds-lstm"]
    with pytest.raises(ValueError, match=r"'ds-gru' twice: '3 GRU layers.* and '3 GRU layers"):
        tabulate((gru, lstm, gru))


def test_summaries_and_sources_are_one_line() -> None:
    for spec in VARIANTS.values():
        assert 10 <= len(spec.summary) <= 90, spec.name
        assert "\n" not in spec.summary + spec.source
