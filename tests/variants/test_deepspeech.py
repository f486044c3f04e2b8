import pytest
import torch

from variants.deepspeech import DeepSpeech, DeepSpeechConfig


@pytest.mark.parametrize("seed", range(3))
def test_a_new_network_hears_mostly_blanks_whatever_its_seed(seed: int) -> None:
    """The alignment is then found by training, not drawn with the output weights."""
    feats_BTF, lens_B = torch.randn(2, 90, 20), torch.tensor([90, 60])

    def symbol_probabilities(blank_bias: float, num_symbols: int = 29) -> torch.Tensor:
        torch.manual_seed(seed)
        config = DeepSpeechConfig(width=32, blank_bias=blank_bias)
        model = DeepSpeech(config, 20, num_symbols).eval()
        with torch.no_grad():
            log_probs_BUV, _ = model(feats_BTF, lens_B)
        return log_probs_BUV.exp().mean(dim=(0, 1))

    prior_V = symbol_probabilities(3.0)
    many_V = symbol_probabilities(3.0, 1025)
    assert many_V[0] == pytest.approx(prior_V[0].item(), abs=0.03), "whatever the number of symbols"
    # Of a softmax over 28 zeros and a 3: e³ / (e³ + 28) = 0.42.
    assert prior_V[0] == pytest.approx(0.42, abs=0.03)
    assert prior_V[1:].max() < 1.3 * prior_V[1:].min(), "no symbol is preferred"
    drawn_V = symbol_probabilities(0.0)
    assert drawn_V[0] < 0.1, "0 leaves torch's initialisation alone"
    assert drawn_V[1:].max() > 1.3 * drawn_V[1:].min()
