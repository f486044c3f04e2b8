"""Augmentation: what is changed and hidden, how much of it, and that the generator alone decides."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.config import from_dict
from bench.core.errors import UserError
from bench.data.augment import (
    WARP_KNEE,
    AugmentConfig,
    augment,
    change_tempo,
    draw,
    draw_lengths,
    spec_augment,
    warp_frequencies,
)
from bench.data.batches import Batch

OFF = AugmentConfig(
    num_freq_masks=0, freq_mask_bins=0, num_time_masks=0, time_mask_frames=0, time_mask_share=0.0
)
FREQ_ONLY = AugmentConfig(num_time_masks=0, num_freq_masks=1, freq_mask_bins=6)
TIME_ONLY = AugmentConfig(num_freq_masks=0, num_time_masks=1, time_mask_frames=20)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def masked_by(
    feats: torch.Tensor, lens: torch.Tensor, config: AugmentConfig, rng: torch.Generator
) -> torch.Tensor:
    """Masked with numbers drawn from `rng`."""
    draws = draw(len(feats), config, rng)
    on_device = draws.mapped(lambda tensor: tensor.to(feats.device))
    return spec_augment(feats, lens, config, on_device)


def augmented(
    batch: Batch, lens: torch.Tensor, longest: int, config: AugmentConfig, rng: torch.Generator
) -> torch.Tensor:
    draws = draw(len(batch.ids), config, rng).mapped(lambda tensor: tensor.to(lens.device))
    return augment(batch.feats_BTF, batch.feat_lens_B, lens, longest, config, draws)


def ones(lengths: list[int], num_bins: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    lens = torch.tensor(lengths)
    inside = torch.arange(int(lens.max()))[None, :, None] < lens[:, None, None]
    return inside.expand(-1, -1, num_bins).float().clone(), lens


def num_runs(flags: torch.Tensor) -> int:
    """Stretches of neighbouring True in [N]."""
    padded = torch.nn.functional.pad(flags.int(), (1, 0))
    return int((padded.diff() == 1).sum())


def batch_of(lengths: list[int], needed: int = 1, num_bins: int = 16) -> Batch:
    feats_BTF = torch.randn(len(lengths), max(lengths), num_bins, generator=generator(9))
    return Batch(
        feats_BTF=feats_BTF,
        feat_lens_B=torch.tensor(lengths),
        targets=torch.ones(len(lengths), needed, dtype=torch.int64),
        target_lens_B=torch.full((len(lengths),), needed),
        min_ctc_frames_B=torch.full((len(lengths),), needed),
        ids=tuple(map(str, range(len(lengths)))),
    )


def lens_of(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return batch.feat_lens_B, batch.min_ctc_frames_B


def half(lens_B: torch.Tensor) -> torch.Tensor:
    """Output frames of a network of stride 2."""
    return lens_B // 2


def test_tempi_are_uniform_within_their_limits() -> None:
    config = AugmentConfig(tempo_change=0.2)
    drawn_B = draw_lengths(*lens_of(batch_of([1_000] * 5_000)), config, half, generator())
    tempo_B = 1_000 / drawn_B
    assert 0.799 < tempo_B.min() < 0.81
    assert 1.19 < tempo_B.max() < 1.201
    torch.testing.assert_close(
        tempo_B.quantile(torch.tensor([0.25, 0.5, 0.75])),
        torch.tensor([0.9, 1.0, 1.1]),
        atol=0.01,
        rtol=0,
    )


def test_an_utterance_never_becomes_too_short_for_its_text() -> None:
    config = AugmentConfig(tempo_change=0.5)
    for seed in range(20):
        drawn_B = draw_lengths(
            *lens_of(batch_of([40, 40, 40], needed=19)), config, half, generator(seed)
        )
        assert ((drawn_B // 2 >= 19) | (drawn_B == 40)).all()
    # One that was too short to begin with, at any tempo, is left as it is.
    assert draw_lengths(
        *lens_of(batch_of([10], needed=19)), config, half, generator(3)
    ).tolist() == [10]


def test_a_changed_tempo_keeps_both_ends_and_straight_lines() -> None:
    """Features that rise by 1 a frame rise evenly from the same first to the same last value."""
    old_lens_B, new_lens_B = torch.tensor([50, 31, 1]), torch.tensor([62, 20, 1])
    ramp_BTF = torch.arange(50.0)[None, :, None].expand(3, -1, 4).clone()
    stretched = change_tempo(ramp_BTF, old_lens_B, new_lens_B, 62)
    assert stretched.shape == (3, 62, 4)
    for row, old, new in zip(stretched, old_lens_B.tolist(), new_lens_B.tolist(), strict=True):
        expected = torch.linspace(0, old - 1, new)[:, None].expand(-1, 4)
        torch.testing.assert_close(row[:new], expected)


def test_the_same_tempo_changes_nothing() -> None:
    batch = batch_of([50, 31])
    same = change_tempo(batch.feats_BTF, batch.feat_lens_B, batch.feat_lens_B, 50)
    assert torch.equal(same[0], batch.feats_BTF[0])
    assert torch.equal(same[1, :31], batch.feats_BTF[1, :31])


def test_padding_is_never_mixed_into_an_utterance() -> None:
    batch = batch_of([50, 30])
    batch.feats_BTF[1, 30:] = torch.nan
    stretched = change_tempo(batch.feats_BTF, batch.feat_lens_B, torch.tensor([45, 37]), 45)
    assert stretched[1, :37].isfinite().all()


def test_frequencies_are_scaled_up_to_the_knee_and_both_ends_stay() -> None:
    num_bins = 64
    ramp_BTF = torch.arange(float(num_bins)).expand(200, 1, num_bins)
    warped_BF = warp_frequencies(ramp_BTF, 0.2, torch.rand((200, 1), generator=generator()))[:, 0]
    factor_B = warped_BF[:, 10] / 10
    assert factor_B.min() < 0.81
    assert factor_B.max() > 1.19
    assert (factor_B - 1).abs().max() <= 0.2 + 1e-5
    knee = int(WARP_KNEE * (num_bins - 1) / 1.2)
    below = torch.arange(float(knee))[None] * factor_B[:, None]
    torch.testing.assert_close(warped_BF[:, :knee], below, atol=1e-3, rtol=0)
    assert (warped_BF[:, 0] == 0).all()
    torch.testing.assert_close(warped_BF[:, -1], torch.full((200,), 63.0))
    assert (warped_BF.diff(dim=1) > 0).all()


def test_the_parts_come_together_and_the_generator_decides() -> None:
    config = AugmentConfig(tempo_change=0.1, frequency_warp=0.1, freq_mask_bins=4)
    batch = batch_of([80, 61, 33])

    def heard(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = generator(seed)
        lens_B = draw_lengths(*lens_of(batch), config, half, rng)
        return lens_B, augmented(batch, lens_B, int(lens_B.max()), config, rng)

    (lens_B, first), (_, again), (_, other) = heard(1), heard(1), heard(2)
    assert first.shape == (3, lens_B.max(), 16)
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


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
    hidden = masked_by(feats, lens, config, generator(seed)) == 0
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
    hidden = masked_by(feats, lens, config, generator())[:, :, 0] == 0
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
        masked = masked_by(feats, lens, TIME_ONLY, generator(seed))
        assert masked[1, 50:].all()
        assert (masked[0] == 0).all(dim=1).sum() <= 20
        assert (masked[1] == 0).all(dim=1).sum() <= 10


def test_utterances_get_masks_of_their_own_and_kept_values_are_untouched() -> None:
    feats = torch.randn(4, 60, 16, generator=generator(9))
    masked = masked_by(feats, torch.full((4,), 60), AugmentConfig(freq_mask_bins=6), generator())
    assert ((masked == feats) | (masked == 0)).all()
    patterns = {tuple((row == 0).all(dim=0).tolist()) for row in masked}
    assert len(patterns) > 1
    assert not torch.equal(masked, feats)


def test_frequency_masks_go_over_all_frames() -> None:
    feats, lens = ones([40, 40, 40])
    hidden = masked_by(feats, lens, FREQ_ONLY, generator(3)) == 0
    assert hidden.any()
    assert torch.equal(hidden.any(dim=1), hidden.all(dim=1))


def test_the_generator_decides_and_the_input_is_left_alone() -> None:
    feats, lens = ones([80, 70])
    config = AugmentConfig()
    first, again, other = (masked_by(feats, lens, config, generator(s)) for s in (1, 1, 2))
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
    batch = batch_of([80, 70])
    lens_B = draw_lengths(*lens_of(batch), off, half, generator())
    assert torch.equal(lens_B, batch.feat_lens_B)
    assert torch.equal(augmented(batch, lens_B, 80, off, generator()), batch.feats_BTF)


def test_a_row_of_padding_changes_no_other_row() -> None:
    """Rows of length 0 come last: those before them are as they are alone."""
    config = AugmentConfig(tempo_change=0.1, frequency_warp=0.1, freq_mask_bins=4)
    batch, lens = batch_of([80, 61]), torch.tensor([75, 66])
    draws = draw(2, config, generator(1))
    alone = augment(batch.feats_BTF, batch.feat_lens_B, lens, 75, config, draws)
    pad = torch.nn.functional.pad
    padded = augment(
        pad(batch.feats_BTF, (0, 0, 0, 9, 0, 1)), pad(batch.feat_lens_B, (0, 1)), pad(lens, (0, 1)), 90,
        config, draws.mapped(lambda tensor: pad(tensor, (0, 0, 0, 1))),
    )  # fmt: skip
    for row, length in enumerate(lens.tolist()):
        assert torch.equal(padded[row, :length], alone[row, :length])
    assert padded[2].isfinite().all()


@pytest.mark.cuda
def test_cuda_hides_what_the_cpu_hides() -> None:
    feats, lens = ones([80, 70, 33])
    on_cuda = masked_by(feats.cuda(), lens.cuda(), AugmentConfig(), generator(5))
    assert torch.equal(on_cuda.cpu(), masked_by(feats, lens, AugmentConfig(), generator(5)))
    batch = batch_of([80, 70, 33])
    config = AugmentConfig(tempo_change=0.1, frequency_warp=0.1)
    lens_B = torch.tensor([85, 66, 33])
    changed = augmented(batch.to(torch.device("cuda")), lens_B.cuda(), 85, config, generator(5))
    torch.testing.assert_close(changed.cpu(), augmented(batch, lens_B, 85, config, generator(5)))


@pytest.mark.parametrize(
    "name, value",
    [
        ("tempo_change", -0.1),
        ("tempo_change", 0.6),
        ("frequency_warp", float("nan")),
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
