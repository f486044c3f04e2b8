import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import bench.training.evaluate as evaluation
from bench.data.audio import read_utterance
from bench.data.batches import BatchConfig
from bench.data.features import CorpusStats
from bench.data.text import BLANK
from bench.data.units import LETTERS, Units
from bench.data.utterance import Corpus
from bench.decoding import Decoder
from bench.training.checkpoint import TrainedNetwork
from bench.training.config import RunConfig, build_model
from bench.training.evaluate import evaluate, transcribe
from bench.training.loop import TrainingData
from variants.spec import AcousticModel

CPU = torch.device("cpu")
Configure = Callable[..., RunConfig]


class Parrot(AcousticModel):
    """Says "a" in the first frame of whatever it hears and is silent in all others."""

    stride = 1

    def output_lengths(self, feat_lens_B: Tensor) -> Tensor:
        return feat_lens_B // self.stride

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        out_lens_B = self.output_lengths(feat_lens_B)
        best_BU = torch.full((len(feats_BTF), max(1, int(out_lens_B.max()))), BLANK)
        best_BU[:, 0] = LETTERS.encode("a")[0]
        one_hot = torch.nn.functional.one_hot(best_BU, LETTERS.num_symbols).float()
        return (5 * one_hot).log_softmax(dim=-1), out_lens_B


def test_scores_come_in_the_order_of_the_dataset(data: TrainingData) -> None:
    found = evaluate(Parrot(), data.train, BatchConfig(batch_seconds=2.0), CPU)
    spoken = data.train.utterances
    assert [s.id for s in found.scores] == [u.id for u in spoken]
    assert [s.ref for s in found.scores] == [u.text for u in spoken]
    assert {s.hyp for s in found.scores} == {"a"}
    assert found.totals.num_utterances == len(spoken)
    hits = sum("a" in u.text.split() for u in spoken)
    assert sum(s.hits for s in found.scores) == hits


def test_texts_are_spelled_while_the_next_batch_is_computed(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def noted(
        decoder: Decoder, log_probs: Tensor, lens: Tensor, units: Units
    ) -> Callable[[], list[str]]:
        number = events.count("begin")
        events.append("begin")

        def spell() -> list[str]:
            events.append(f"spell {number}")
            return decoder(log_probs, lens, units)

        return spell

    monkeypatch.setattr(evaluation, "begin", noted)
    found = evaluate(Parrot(), data.train, BatchConfig(batch_seconds=0.6), CPU)
    assert {s.hyp for s in found.scores} == {"a"}
    assert events[:5] == ["begin", "begin", "spell 0", "begin", "spell 1"]
    assert events[-1] == f"spell {events.count('begin') - 1}"


def test_blank_share_counts_frames_within_lengths(data: TrainingData) -> None:
    found = evaluate(Parrot(), data.train, BatchConfig(batch_seconds=60.0), CPU)
    assert found.blank_share == pytest.approx(1 - len(data.train) / data.train.num_frames.sum())


class Silent(Parrot):
    """Hears nothing but blanks."""

    def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_BUV, lens_B = super().forward(feats_BTF, feat_lens_B)
        log_probs_BUV[..., BLANK] = 1.0
        return log_probs_BUV, lens_B


def test_a_collapse_to_blanks_shows(data: TrainingData) -> None:
    batches = BatchConfig(batch_seconds=60.0)
    silent, heard = (evaluate(model, data.train, batches, CPU) for model in (Silent(), Parrot()))
    assert (silent.blank_share, silent.empty_share) == (1, 1)
    assert heard.empty_share == 0


def test_batching_changes_no_number(tiny: Configure, data: TrainingData) -> None:
    model = build_model(tiny())
    found = [
        evaluate(model, data.train, BatchConfig(batch_seconds=seconds), CPU)
        for seconds in (0.1, 60.0)
    ]
    assert found[0].loss == pytest.approx(found[1].loss, rel=1e-5)
    assert found[0].scores == found[1].scores
    assert not model.training


def test_the_loss_is_over_what_can_be_spelled_and_the_errors_over_all(data: TrainingData) -> None:
    model, batches = Parrot(), BatchConfig()
    model.stride = 7  # 14 frames a second: 0.08 s a letter leave one frame a letter, none for "ee"
    found = evaluate(model, data.train, batches, CPU)
    assert math.isfinite(found.loss)
    assert found.totals.num_utterances == len(data.train)
    model.stride = 20
    assert math.isnan(evaluate(model, data.train, batches, CPU).loss)


def test_utterances_too_short_for_an_output_frame_are_empty_texts(data: TrainingData) -> None:
    model = Parrot()
    model.stride = 10_000
    found = evaluate(model, data.watch, BatchConfig(), CPU)
    assert math.isnan(found.blank_share)
    assert found.empty_share == 1
    assert found.totals.wer == 1


def test_a_recording_and_its_features_give_one_transcript(
    tiny: Configure, tone_corpus: Corpus, data: TrainingData
) -> None:
    config = tiny(**{"model.blank_bias": 0.0})
    model = build_model(config).eval()
    for p in model.parameters():
        p.data.mul_(3)  # untrained, but not silent
    utterance = data.valid.utterances[0]
    score = evaluate(model, data.valid, config.batches, CPU).scores[0]
    assert score.hyp
    trained = TrainedNetwork(model, config, None, LETTERS)
    assert transcribe(trained, read_utterance(utterance, 16_000), CPU) == score.hyp


def test_corpus_normalisation_uses_the_stats_it_is_given(
    tiny: Configure, tone_corpus: Corpus
) -> None:
    config = tiny(**{"features.normalize": "corpus"})
    waveform_N = read_utterance(tone_corpus.utterances[0], 16_000)
    heard: list[Tensor] = []

    class Listener(Parrot):
        def forward(self, feats_BTF: Tensor, feat_lens_B: Tensor) -> tuple[Tensor, Tensor]:
            heard.append(feats_BTF)
            return super().forward(feats_BTF, feat_lens_B)

    for std in (1.0, 2.0):
        stats = CorpusStats(mean=(0.0,) * 24, std=(std,) * 24)
        trained = TrainedNetwork(Listener(), config, stats, LETTERS)
        assert transcribe(trained, waveform_N, CPU) == "a"
    torch.testing.assert_close(heard[0], 2 * heard[1])
