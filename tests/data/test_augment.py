"""SpecAugment: what is hidden, how much of it, and that the generator alone decides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.data.augment import AugmentConfig, spec_augment

OFF = AugmentConfig(
    num_freq_masks=0, freq_mask_bins=0, num_time_masks=0, time_mask_frames=0, time_mask_share=0.0
)
FREQ_ONLY = AugmentConfig(num_time_masks=0, num_freq_masks=1, freq_mask_bins=6)
TIME_ONLY = AugmentConfig(num_freq_masks=0, num_time_masks=1, time_mask_frames=20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ones(lengths: list[int], num_bins: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    lens = torch.tensor(lengths)
    inside = torch.arange(int(lens.max()))[None, :, None] < lens[:, None, None]
    return inside.expand(-1, -1, num_bins).float().clone(), lens


def num_runs(flags: torch.Tensor) -> int:
    """Stretches of neighbouring True in [N]."""
    padded = torch.nn.functional.pad(flags.int(), (1, 0))
    return int((padded.diff() == 1).sum())


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 120), min_size=1, max_size=5),
    st.integers(0, 3),
    st.integers(0, 30),
    st.integers(0, 3),
    st.integers(0, 60),
    st.floats(0, 1),
    st.integers(0, 1_000),
)
def test_masks_keep_their_bounds(
    lengths: list[int],
    num_freq_masks: int,
    freq_mask_bins: int,
    num_time_masks: int,
    time_mask_frames: int,
    time_mask_share: float,
    seed: int,
) -> None:
    config = AugmentConfig(
        num_freq_masks=num_freq_masks,
        freq_mask_bins=freq_mask_bins,
        num_time_masks=num_time_masks,
        time_mask_frames=time_mask_frames,
        time_mask_share=time_mask_share,
    )
    feats, lens = ones(lengths)
    hidden = spec_augment(feats, lens, config, generator(seed)) == 0
    for length, hidden_TF in zip(lengths, hidden, strict=True):
        valid = hidden_TF[:length]
        bins, frames = valid.all(dim=0), valid.all(dim=1)
        if not bins.all() and not frames.all():
            # A stripe is hidden whole: what is hidden is the union of rows and columns.
            assert torch.equal(valid, bins[None, :] | frames[:, None])
            assert num_runs(bins) <= num_freq_masks
            assert num_runs(frames) <= num_time_masks
            assert bins.sum() <= num_freq_masks * freq_mask_bins
            longest = min(time_mask_frames, time_mask_share * length)
            assert frames.sum() <= num_time_masks * longest


def test_widths_and_places_are_uniform() -> None:
    """One mask of 0 to 4 frames over 10: each width a fifth, each place of a width alike."""
    config = AugmentConfig(
        num_freq_masks=0, num_time_masks=1, time_mask_frames=4, time_mask_share=1.0
    )
    feats, lens = ones([10] * 20_000, num_bins=1)
    hidden = spec_augment(feats, lens, config, generator())[:, :, 0] == 0
    widths = hidden.sum(dim=1)
    shares = torch.bincount(widths, minlength=5) / len(widths)
    torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.015, rtol=0)
    starts = torch.bincount(hidden[widths == 4].int().argmax(dim=1), minlength=7)
    assert len(starts) == 7
    torch.testing.assert_close(starts / starts.sum(), torch.full((7,), 1 / 7), atol=0.03, rtol=0)


def test_time_masks_know_the_true_length() -> None:
    feats, lens = ones([100, 50])
    feats[1, 50:] = 1.0  # marks in the padding: no mask may reach them
    for seed in range(50):
        masked = spec_augment(feats, lens, TIME_ONLY, generator(seed))
        assert masked[1, 50:].all()
        assert (masked[0] == 0).all(dim=1).sum() <= 20
        assert (masked[1] == 0).all(dim=1).sum() <= 10


def test_utterances_get_masks_of_their_own_and_kept_values_are_untouched() -> None:
    feats = torch.randn(4, 60, 16, generator=generator(9))
    masked = spec_augment(feats, torch.full((4,), 60), AugmentConfig(freq_mask_bins=6), generator())
    assert ((masked == feats) | (masked == 0)).all()
    patterns = {tuple((row == 0).all(dim=0).tolist()) for row in masked}
    assert len(patterns) > 1
    assert not torch.equal(masked, feats)


def test_frequency_masks_go_over_all_frames() -> None:
    feats, lens = ones([40, 40, 40])
    hidden = spec_augment(feats, lens, FREQ_ONLY, generator(3)) == 0
    assert hidden.any()
    assert torch.equal(hidden.any(dim=1), hidden.all(dim=1))


def test_the_generator_decides_and_the_input_is_left_alone() -> None:
    feats, lens = ones([80, 70])
    config = AugmentConfig()
    first, again, other = (spec_augment(feats, lens, config, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(feats, ones([80, 70])[0])


@pytest.mark.parametrize(
    "off",
    [
        OFF,
        AugmentConfig(num_freq_masks=0, num_time_masks=0),
        AugmentConfig(freq_mask_bins=0, time_mask_frames=0),
        AugmentConfig(num_freq_masks=0, time_mask_share=0.0),
    ],
)
def test_off(off: AugmentConfig) -> None:
    feats, lens = ones([80, 70])
    assert torch.equal(spec_augment(feats, lens, off, generator()), feats)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_hides_what_the_cpu_hides() -> None:
    feats, lens = ones([80, 70, 33])
    on_cuda = spec_augment(feats.cuda(), lens.cuda(), AugmentConfig(), generator(5))
    assert torch.equal(on_cuda.cpu(), spec_augment(feats, lens, AugmentConfig(), generator(5)))


@pytest.mark.parametrize(
    "name, value",
    [
        ("num_freq_masks", -1),
        ("freq_mask_bins", -1),
        ("num_time_masks", -1),
        ("time_mask_frames", -1),
        ("time_mask_share", -0.1),
        ("time_mask_share", 1.1),
        ("time_mask_share", float("nan")),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} must be .*got {value}"):
        from_dict(AugmentConfig, {name: value})
