"""SpecAugment: random stripes of the features are hidden (Park et al. 2019, arXiv:1904.08779).

Legend: B utterances, T frames, F feature bins, M masks. Time warping, which the paper found to
matter least, is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How much is hidden; no masks, or masks of no width, turn it off."""

    num_freq_masks: int = 2
    freq_mask_bins: int = 15
    """Widest frequency mask (the paper's F)."""
    num_time_masks: int = 2
    time_mask_frames: int = 40
    """Longest time mask (the paper's T)."""
    time_mask_share: float = 0.2
    """Longest time mask as a share of its utterance (the paper's p)."""

    def __post_init__(self) -> None:
        for name in ("num_freq_masks", "freq_mask_bins", "num_time_masks", "time_mask_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.time_mask_share <= 1:
            raise ValueError(f"time_mask_share must be 0 to 1, got {self.time_mask_share}")

    @property
    def hides_frequencies(self) -> bool:
        """Whether any frequency mask can have a width."""
        return min(self.num_freq_masks, self.freq_mask_bins) > 0

    @property
    def hides_times(self) -> bool:
        """Whether any time mask can have a length."""
        return min(self.num_time_masks, self.time_mask_frames) > 0 < self.time_mask_share


def spec_augment(
    feats_BTF: Tensor, feat_lens_B: Tensor, config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """Features with each utterance's own masks set to 0, the mean of normalised features.

    Time masks lie within an utterance's true length. The numbers are drawn from `generator` on the
    CPU, so that every device hides the same; the rest happens on the device of the features, and
    nothing is read back from it.
    """
    _, num_frames, num_bins = feats_BTF.shape
    hidden_BTF = torch.zeros((), dtype=torch.bool, device=feats_BTF.device)
    if config.hides_frequencies:
        bins_B = torch.full_like(feat_lens_B, num_bins)
        widest_B = bins_B.clamp(max=config.freq_mask_bins)
        masks_BF = _stripes(num_bins, bins_B, widest_B, config.num_freq_masks, generator)
        hidden_BTF = hidden_BTF | masks_BF[:, None, :]
    if config.hides_times:
        longest_B = (feat_lens_B.double() * config.time_mask_share).long()
        longest_B = longest_B.clamp(max=config.time_mask_frames)
        masks_BT = _stripes(num_frames, feat_lens_B, longest_B, config.num_time_masks, generator)
        hidden_BTF = hidden_BTF | masks_BT[:, :, None]
    return feats_BTF.masked_fill(hidden_BTF, 0.0)


def _stripes(
    size: int, lengths_B: Tensor, widest_B: Tensor, num_masks: int, generator: torch.Generator
) -> Tensor:
    """Positions [B, size] under any of `num_masks` stripes per row.

    A width is uniform over 0 to `widest_B`, a start over the places where the stripe fits within
    `lengths_B`.
    """
    shape = (2, len(lengths_B), num_masks)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64).to(lengths_B.device)
    width_BM = (uniform[0] * (widest_B[:, None] + 1)).long()
    start_BM = (uniform[1] * (lengths_B[:, None] - width_BM + 1)).long()
    position = torch.arange(size, device=lengths_B.device)
    inside = (position >= start_BM[..., None]) & (position < (start_BM + width_BM)[..., None])
    return inside.any(dim=1)
