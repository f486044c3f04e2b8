"""Augmentation of features during training.

In this order: a change of tempo; a warp of the frequency axis, as by a vocal tract of another
length (Jaitly and Hinton 2013, "Vocal tract length perturbation (VTLP) improves speech
recognition"); time and frequency masks (SpecAugment, Park et al. 2019, arXiv:1904.08779; without
the paper's time warping). Speed perturbation of the waveform (Ko et al. 2015, "Audio augmentation
for speech recognition") changes tempo and frequencies by the same factor; here they are drawn
independently.

Legend: B utterances, T frames, F feature bins, M masks. Random numbers are drawn on the CPU (see
`draw`), so that they are the same for every device; all else is computed on the device of the
features, and the host never waits for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from variants.spec import check_range

WARP_KNEE = 0.8
"""Up to this share of the spectrum all frequencies are scaled by one factor; above, the map is
linear such that the highest frequency stays where it is."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Strength of each augmentation; 0 disables it."""

    tempo_change: float = 0.0
    """The tempo is multiplied by a factor in 1 ± this value."""
    frequency_warp: float = 0.0
    """Frequencies are multiplied by a factor in 1 ± this value."""

    num_freq_masks: int = 2
    freq_mask_bins: int = 15
    """Widest frequency mask (the paper's F)."""
    num_time_masks: int = 2
    time_mask_frames: int = 40
    """Longest time mask (the paper's T)."""
    time_mask_share: float = 0.2
    """Longest time mask as a share of its utterance (the paper's p)."""

    def __post_init__(self) -> None:
        check_range(self, "num_freq_masks", "freq_mask_bins", at_least=0)
        check_range(self, "num_time_masks", "time_mask_frames", at_least=0)
        check_range(self, "tempo_change", "frequency_warp", at_least=0, at_most=0.5)
        check_range(self, "time_mask_share", at_least=0, at_most=1)

    @property
    def hides_frequencies(self) -> bool:
        """True if a frequency mask can be wider than 0."""
        return min(self.num_freq_masks, self.freq_mask_bins) > 0

    @property
    def hides_times(self) -> bool:
        """True if a time mask can be longer than 0."""
        return min(self.num_time_masks, self.time_mask_frames) > 0 < self.time_mask_share


def draw_lengths(
    lens_B: Tensor,
    min_ctc_frames_B: Tensor,
    config: AugmentConfig,
    output_lengths: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """The number of frames [B] of utterances of `lens_B` frames at a random tempo, on the CPU.

    An utterance keeps its tempo if it would otherwise have fewer output frames than CTC needs for
    its text; `output_lengths` gives the network's output frames for numbers of input frames.
    """
    if not config.tempo_change:
        return lens_B
    uniform_B = torch.rand(len(lens_B), generator=generator, dtype=torch.float64)
    tempo_B = 1 + config.tempo_change * (2 * uniform_B - 1)
    drawn_B = (lens_B / tempo_B).round().long().clamp(min=1)
    enough_B = output_lengths(drawn_B) >= min_ctc_frames_B
    return torch.where(enough_B, drawn_B, lens_B)


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The random numbers of one batch, uniform in [0, 1); None for an augmentation that is off."""

    warp_B1: Tensor | None
    """float32, for the frequency warp."""
    freq_2BM: Tensor | None
    """float64, for width and start of the frequency masks."""
    time_2BM: Tensor | None
    """float64, for width and start of the time masks."""

    def mapped(self, function: Callable[[Tensor], Tensor]) -> "Draws":
        """The same draws after `function`, such as a copy to a device."""
        present = {k: v if v is None else function(v) for k, v in vars(self).items()}
        return Draws(**present)


def draw(num_rows: int, config: AugmentConfig, generator: torch.Generator) -> Draws:
    """Random numbers for the warp and the masks of `num_rows` rows, on the CPU.

    The tempo is drawn before them (`draw_lengths`), so that rows that are views of one utterance
    share it.
    """

    def uniform(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=dtype)

    warped, freq, time = config.frequency_warp, config.num_freq_masks, config.num_time_masks
    return Draws(
        warp_B1=uniform(num_rows, 1, dtype=torch.float32) if warped else None,
        freq_2BM=uniform(2, num_rows, freq) if config.hides_frequencies else None,
        time_2BM=uniform(2, num_rows, time) if config.hides_times else None,
    )


def augment(
    feats_BTF: Tensor,
    old_lens_B: Tensor,
    new_lens_B: Tensor,
    longest: int,
    config: AugmentConfig,
    draws: Draws,
) -> Tensor:
    """Features [B, `longest`, F], those of `old_lens_B` frames at `new_lens_B` frames, warped and
    masked.

    `longest` is at least the maximum of `new_lens_B`, an argument so that the host need not read it
    from the device. All tensors are on one device, and nothing is copied to it.
    """
    if config.tempo_change:
        feats_BTF = change_tempo(feats_BTF, old_lens_B, new_lens_B, longest)
    if draws.warp_B1 is not None:
        feats_BTF = warp_frequencies(feats_BTF, config.frequency_warp, draws.warp_B1)
    return spec_augment(feats_BTF, new_lens_B, config, draws)


def change_tempo(feats_BTF: Tensor, old_lens_B: Tensor, new_lens_B: Tensor, longest: int) -> Tensor:
    """Each utterance linearly interpolated to its new number of frames: [B, `longest`, F].

    First and last frame map to themselves; `longest` is at least the maximum of `new_lens_B`, and
    the last frame is repeated up to it.
    """
    # Frame t of the new length is read at t (old - 1) / (new - 1) of the old one. In float64: at
    # frame 1,000 a float32 is good to 6e-5 of a frame only.
    #
    #     4 frames to 7      0         1         2         3
    #     read at            0   .5    1  1.5    2  2.5    3
    num_rows, num_frames, _ = feats_BTF.shape
    device = feats_BTF.device
    last_B1 = (old_lens_B - 1).clamp(min=0).double()[:, None]  # 0 for a row of padding
    time_T = torch.arange(longest, device=device).double()
    scale_B1 = last_B1 / (new_lens_B - 1).clamp(min=1)[:, None]
    source_BT = (time_T * scale_B1).minimum(last_B1)
    before_BT = source_BT.floor()
    share_BT1 = (source_BT - before_BT).to(feats_BTF.dtype)[..., None]
    # Rows lie end to end in `flat`, so one index_select serves all: row b begins at b * num_frames.
    row_B1 = torch.arange(num_rows, device=device)[:, None] * num_frames
    flat = feats_BTF.flatten(0, 1)
    earlier, later = (
        flat.index_select(0, (row_B1 + place_BT.long()).flatten()).view(num_rows, longest, -1)
        for place_BT in (before_BT, (before_BT + 1).minimum(last_B1))
    )
    return torch.lerp(earlier, later, share_BT1)


def warp_frequencies(feats_BTF: Tensor, warp: float, uniform_B1: Tensor) -> Tensor:
    """Each utterance with its frequency axis scaled by a factor in 1 ± `warp`, chosen by
    `uniform_B1` in [0, 1), linearly interpolated between bins."""
    num_bins = feats_BTF.shape[-1]
    factor_B1 = 1 + warp * (2 * uniform_B1 - 1)
    bin_F = torch.arange(num_bins, device=feats_BTF.device, dtype=torch.float32)
    top = num_bins - 1
    # Where each bin is read: on one line from 0 to the knee, on another from there to the top. The
    # knee lies so that neither side of it is pushed beyond WARP_KNEE. With top = 100:
    #
    #     factor 1.25    bins 0 to 64 at 0 to 80, bins 64 to 100 at 80 to 100
    #     factor 0.8     bins 0 to 80 at 0 to 64, bins 80 to 100 at 64 to 100
    knee_B1 = WARP_KNEE * top * factor_B1.clamp(max=1) / factor_B1
    rest = (top - factor_B1 * knee_B1) / (top - knee_B1).clamp(min=1)
    source_BF = torch.where(bin_F <= knee_B1, factor_B1 * bin_F, top - rest * (top - bin_F))
    # Linear interpolation as a matrix product: the weight of a bin falls linearly with its distance
    # to the source position, to 0 at a distance of one bin.
    weights_BFF = (1 - (bin_F[:, None] - source_BF[:, None, :]).abs()).clamp(min=0)
    return torch.bmm(feats_BTF, weights_BFF.to(feats_BTF.dtype))


def spec_augment(
    feats_BTF: Tensor, feat_lens_B: Tensor, config: AugmentConfig, draws: Draws
) -> Tensor:
    """Features with random masks for each utterance, set to 0, the mean of normalised features.

    Time masks lie within the length of an utterance, without padding.
    """
    _, num_frames, num_bins = feats_BTF.shape
    hidden_BTF = torch.zeros((), dtype=torch.bool, device=feats_BTF.device)
    if draws.freq_2BM is not None:
        bins_B = torch.full_like(feat_lens_B, num_bins)
        widest_B = bins_B.clamp(max=config.freq_mask_bins)
        masks_BF = _stripes(num_bins, bins_B, widest_B, draws.freq_2BM)
        hidden_BTF = hidden_BTF | masks_BF[:, None, :]
    if draws.time_2BM is not None:
        longest_B = (feat_lens_B.double() * config.time_mask_share).long()
        longest_B = longest_B.clamp(max=config.time_mask_frames)
        masks_BT = _stripes(num_frames, feat_lens_B, longest_B, draws.time_2BM)
        hidden_BTF = hidden_BTF | masks_BT[:, :, None]
    return feats_BTF.masked_fill(hidden_BTF, 0.0)


def _stripes(size: int, lengths_B: Tensor, widest_B: Tensor, uniform_2BM: Tensor) -> Tensor:
    """True [B, size] at positions within any of M random intervals per row.

    Widths are uniform over 0 to `widest_B`, starts over the positions at which the interval lies
    within `lengths_B`.
    """
    # floor(u · n) with u in [0, 1) is uniform over 0 to n - 1.
    width_BM = (uniform_2BM[0] * (widest_B[:, None] + 1)).long()
    start_BM = (uniform_2BM[1] * (lengths_B[:, None] - width_BM + 1)).long()
    position = torch.arange(size, device=lengths_B.device)
    inside = (position >= start_BM[..., None]) & (position < (start_BM + width_BM)[..., None])
    return inside.any(dim=1)
