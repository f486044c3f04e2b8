import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import Tensor, nn

from bench.core.config import updated
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.data.text import ALPHABET
from bench.data.units import LETTERS, Units
from bench.data.utterance import Corpus, Snippet
from bench.results.samples import NUM_SAMPLES, choose, emissions, gather_samples
from bench.training import checkpoint
from bench.training.config import build_model, default_run_config


class Dictated(nn.Module):
    """Says what it was told, one symbol a frame; 0 is the blank."""

    def __init__(self, symbols: list[int]) -> None:
        super().__init__()
        self.symbols = symbols

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_UV = torch.full((len(self.symbols) + 2, 29), -9.0)
        for frame, symbol in enumerate(self.symbols):
            log_probs_UV[frame, symbol] = -0.1
        log_probs_UV[len(self.symbols) :, 5] = 0.0  # beyond its length: not to be read
        return log_probs_UV[None], torch.tensor([len(self.symbols)])


def test_a_letter_stands_where_its_run_of_frames_begins() -> None:
    a, b = LETTERS.encode("ab")
    model: Any = Dictated([0, a, a, 0, a, b, 0, 1, 0, 0])
    found = emissions(model, torch.zeros(20, 3), "aab ", seconds=2.0)
    assert "".join(letter.symbol for letter in found) == "aab "
    assert [letter.seconds for letter in found] == [0.3, 0.9, 1.1, 1.5]
    assert found[0].probability == pytest.approx(np.exp(-0.1), abs=1e-3)


def test_the_text_that_was_scored_is_shown_where_another_would_be_decoded() -> None:
    a, b = LETTERS.encode("ab")
    model: Any = Dictated([0, a, a, 0, b, b, 0, 0, a, 0])
    assert "".join(x.symbol for x in emissions(model, torch.zeros(20, 3), "aba", 2.0)) == "aba"
    other = emissions(model, torch.zeros(20, 3), "abba", 2.0)
    assert "".join(letter.symbol for letter in other) == "abba"
    assert min(letter.probability for letter in other) < 0.01, "and it shows as unsure"
    assert emissions(model, torch.zeros(20, 3), "", 2.0) == ()
    with pytest.raises(UserError, match="more than 10 output frames"):
        emissions(model, torch.zeros(20, 3), "a" * 10, 2.0)


def test_pieces_are_placed_with_the_space_that_they_begin_with() -> None:
    units = Units((" a", "ab", *ALPHABET))
    model: Any = Dictated([0, 1, 1, 2, 0, 0])
    found = emissions(model, torch.zeros(20, 3), "aab", 3.0, units)
    assert [(letter.symbol, letter.seconds) for letter in found] == [(" a", 0.75), ("ab", 1.75)]


def scored(errors: dict[str, tuple[int, int]]) -> pd.DataFrame:
    rows = [
        {
            "run": f"{system}/confirm-0",
            "id": id,
            "system": system,
            "num_ref_words": 4,
            "substitutions": count,
            "hyp": "a bad",
        }
        for id, counts in errors.items()
        for system, count in zip(("ds-gru", "ds-lstm"), counts, strict=True)
    ]
    return pd.DataFrame(rows).assign(deletions=0, insertions=0)


def test_the_most_different_come_first_then_the_worst() -> None:
    errors = {f"same-{n}": (n, n) for n in range(5)} | {"apart": (0, 3), "near": (1, 3)}
    chosen = choose(scored(errors))
    assert chosen[:2] == ["apart", "near"]
    assert len(chosen) == NUM_SAMPLES
    assert chosen[-1] in ("same-2", "same-3", "same-4")
    assert choose(pd.DataFrame()) == []


def test_what_is_gathered_plays_and_is_spelled(tone_corpus: Corpus, tmp_path: Path) -> None:
    config = updated(
        default_run_config("ds-gru", CorpusConfig()),
        {"model.width": 8, "model.convs": [[8, 5, 2]], "model.num_layers": 1},
    )
    torch.manual_seed(0)
    path = tmp_path / "runs" / "ds-gru" / "confirm-0" / "checkpoints" / "best.pt"
    checkpoint.save(path, config, build_model(config), None, LETTERS)
    runs = pd.DataFrame(
        {
            "run": ["ds-gru/confirm-0", "ds-lstm/confirm-0"],
            "system": ["ds-gru", "ds-lstm"],
            "kind": "confirm",
            "state": "finished",
            "valid_wer": [0.4, 0.5],
        }
    )
    test = tone_corpus.split("test")
    table = scored({u.id: (1, 2) for u in test})
    samples = gather_samples(tmp_path, tone_corpus, runs, table)
    assert {sample.id for sample in samples} <= {u.id for u in test}
    for sample in samples:
        sound = soundfile.info(io.BytesIO(sample.flac))
        assert sound.duration == pytest.approx(sample.seconds)
        assert set(sample.letters) == {"ds-gru"}  # the other's checkpoint is gone
        said = "".join(letter.symbol for letter in sample.letters["ds-gru"])
        assert said == "a bad", "not what this network, untrained, would say"
        assert sample.spectrogram.dtype == np.uint8
        assert sample.spectrogram.shape[0] == config.features.num_bins
        assert all(0 <= letter.seconds <= sample.seconds for letter in sample.letters["ds-gru"])


def test_the_player_plays_the_snippet(tone_corpus: Corpus, tmp_path: Path) -> None:
    first = tone_corpus.split("test")[0]
    cut = replace(first, snippet=Snippet(start_seconds=0.1, seconds=0.2), seconds=0.2)
    corpus = replace(tone_corpus, utterances=(cut,))
    runs = pd.DataFrame(columns=["run", "system", "kind", "state", "valid_wer"])
    (sample,) = gather_samples(tmp_path, corpus, runs, scored({first.id: (1, 2)}))
    played, rate = soundfile.read(io.BytesIO(sample.flac))
    whole, _ = soundfile.read(first.audio)
    assert rate == 16_000
    np.testing.assert_array_equal(played, whole[1_600:4_800])
