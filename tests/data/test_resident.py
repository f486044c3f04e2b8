"""Features on a device: a gather by places is the batch itself, bit for bit."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.data import resident
from bench.data.batches import Dataset
from bench.data.features import FeatureConfig
from bench.data.resident import ResidentFeatures, resident_features
from bench.data.store import open_store
from bench.data.units import LETTERS
from bench.data.utterance import Corpus

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def tones(tone_corpus: Corpus) -> Dataset:
    """Some utterances of the store, in another order than there."""
    store = open_store(tone_corpus, FeatureConfig())
    return Dataset(
        tuple(reversed(tone_corpus.split("valid") + tone_corpus.split("train"))), store, LETTERS
    )


@pytest.mark.parametrize("chunk_bytes", [1, 20_000, resident.CHUNK_BYTES])
def test_a_gather_is_the_batch(
    tones: Dataset, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    """However many chunks it was read in, one utterance each at least."""
    monkeypatch.setattr(resident, "CHUNK_BYTES", chunk_bytes)
    features = ResidentFeatures(tones, CPU)
    for indices in ([3], [0, 1, 2], [13, 4, 9, 4], list(range(len(tones)))):
        stored = tones.collate(indices, as_stored=True)
        places = tones.collate(indices, as_places=True)
        found = features.gather(places.feats_BTF)
        assert found.dtype == torch.float16
        assert torch.equal(found, stored.feats_BTF)
        for name in ("feat_lens_B", "targets", "target_lens_B", "min_ctc_frames_B"):
            assert torch.equal(getattr(places, name), getattr(stored, name)), name


def test_only_a_gpu_keeps_features_and_only_up_to_a_quarter_of_what_is_free(
    tones: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_bytes = 2 * (1 + int(tones.num_frames.sum())) * tones.store.config.num_bins

    def decided(free_bytes: int) -> Any:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free_bytes, 10**12))
        monkeypatch.setattr(resident, "ResidentFeatures", lambda *given: SimpleNamespace(of=given))
        return resident_features(tones, GPU)

    assert decided(4 * num_bytes).of == (tones, GPU)
    assert decided(4 * num_bytes - 1) is None
    assert resident_features(tones, CPU) is None
    assert ResidentFeatures(tones, CPU)._feats_NF.nbytes == num_bytes
