"""The consistency loss of CR-CTC: divergence between the CTC outputs of two augmented views.

Yao et al. 2024, "CR-CTC: Consistency regularization on CTC for improved speech recognition",
arXiv:2410.05101. SpecAugment masks, frequency warp and dropout are drawn for each view; the tempo
is shared, so that the output frames of the two views correspond. The output distribution of each
view is the target of the other.

Legend: B rows of a batch, U output frames, V symbols.
"""

import torch.nn.functional as F
from torch import Tensor

from bench.training.ctc import per_symbol
from variants.ops.padding import frame_mask


def consistency_losses(log_probs_BUV: Tensor, out_lens_B: Tensor, target_lens_B: Tensor) -> Tensor:
    """Divergence of each view from the other [B], in nats per symbol, in float32.

    Rows 2i and 2i + 1 are the views of one utterance. For a row the divergence is the sum over its
    output frames of KL(other view ‖ this view), without padding; no gradient flows through the
    other view. The mean of both rows is the paper's L_CR, here divided by the number of symbols
    like the CTC loss (see `ctc_losses`), so that the paper's weights apply.
    """
    here_BUV = log_probs_BUV.float()
    # Each row's other view, by swapping within pairs: rows 0 1 | 2 3 become 1 0 | 3 2.
    other_BUV = here_BUV.detach().reshape(-1, 2, *here_BUV.shape[1:]).flip(1).view_as(here_BUV)
    # kl_div takes the logarithms of q and p, in this order, and gives p (log p - log q): summed
    # over the symbols KL(p ‖ q).
    apart_BUV = F.kl_div(here_BUV, other_BUV, reduction="none", log_target=True)
    inside_BU = frame_mask(out_lens_B, log_probs_BUV.shape[1])
    apart_B = apart_BUV.sum(dim=-1).masked_fill(~inside_BU, 0.0).sum(dim=-1)
    return per_symbol(apart_B, target_lens_B)
