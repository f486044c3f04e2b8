"""bench.check --variant: whole variants pass, and each broken twin is refused with its reason."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.core.config import updated
from bench.data.corpora import CorpusConfig
from bench.training.config import default_run_config
from bench.training.contract import Row, check_contract
from bench.training.outside import OUTSIDE, find_variant
from variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "docs" / "your-own-variant.md").read_text().split("```python\n")[1].split("```")[0]
RULES = ("builds", "JSON", "lengths", "log-probabilities", "padding", "gradients", "determinism", "streaming", "overfits a batch")  # fmt: skip
FORWARD = "x_BUH, lens_B = self.front_end(feats_BTF, feat_lens_B)\n"
RETURN = "return self.output(x_BUH).float().log_softmax(dim=-1), lens_B"
STREAMS = """self.cannot_stream = None
        self.output = nn"""
STAGES = """
    def stages(self):
        from variants.streaming import Frames
        return [*self.front_end.stages(), Frames(lambda x: self.output(x).log_softmax(-1))]

    def output_lengths("""
LENGTHS = "return self.front_end.output_lengths(feat_lens_B)"

Check = Callable[[str], dict[str, Row]]


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    def checked(text: str) -> dict[str, Row]:
        path = tmp_path / "mine.py"
        path.write_text(text)
        config = default_run_config(find_variant(f"{path}:residual"), CorpusConfig())
        return {row.rule: row for row in check_contract(updated(config, {"model.width": 24}))}

    yield checked
    for key in list(OUTSIDE):
        del VARIANTS[key], OUTSIDE[key]


def test_the_variant_of_the_page_obeys_every_rule(check: Check) -> None:
    rows = check(SOURCE)
    assert {row.rule: row.found for row in rows.values() if not row.holds} == {}
    assert tuple(rows) == RULES


@pytest.mark.parametrize("variant", ["ds-gru", "ds-bilstm"])
def test_built_in_variants_obey_every_rule(variant: str) -> None:
    small = {"model.width": 16, "model.num_layers": 1, "model.convs": [[16, 11, 3]]}
    config = updated(default_run_config(variant, CorpusConfig()), small)
    assert {row.rule: row.found for row in check_contract(config) if not row.holds} == {}


@pytest.mark.parametrize(
    "old, new, rule, said",
    [
        (LENGTHS, LENGTHS + " // 2", "lengths", "must return the lengths of output_lengths"),
        (LENGTHS, LENGTHS + ".float()", "lengths", "must return int64"),
        (RETURN, "return self.output(x_BUH), lens_B", "log-probabilities", "must sum to 1"),
        (RETURN, RETURN.replace(".float()", ".double()"), "log-probabilities", "must return float32"),
        (FORWARD, FORWARD + "        x_BUH = x_BUH - x_BUH.mean(1, keepdim=True)\n", "padding", "padding must change nothing"),
        (FORWARD, FORWARD + "        x_BUH = x_BUH if self.training else x_BUH - x_BUH.mean(0, keepdim=True)\n", "padding", "alone and padded inside a batch"),
        (FORWARD, FORWARD + "        x_BUH = x_BUH / (feats_BTF.amax() < 500)\n", "padding", "they differ by nan"),
        ("self.output = nn", "self.unused = nn.Linear(2, 2)\n        self.output = nn", "gradients", "none reaches unused.weight"),
        ("self.output = nn", "self.noise = __import__('random').random()\n        self.output = nn", "determinism", "they differ"),
        ("self.output = nn", STREAMS, "streaming", "a stream must give"),
        (RETURN, RETURN.replace("self.output(x_BUH)", "(0.0 * self.output(x_BUH))"), "overfits a batch", "one batch must be learnt"),
        (RETURN, "return self.missing(x_BUH), lens_B", "log-probabilities", "the network raised AttributeError at line"),
    ],
)  # fmt: skip
def test_a_broken_twin_is_refused_with_the_reason(
    check: Check, monkeypatch: pytest.MonkeyPatch, old: str, new: str, rule: str, said: str
) -> None:
    monkeypatch.setattr("bench.training.contract.MAX_STEPS", 60)
    text = SOURCE.replace(old, new)
    assert text != SOURCE
    if "noise" in new:
        text = text.replace("self.output(x_BUH)", "(self.output(x_BUH) * self.noise)")
    if new == STREAMS:  # without the residual convolutions
        text = text.replace("\n    def output_lengths(", STAGES)
    rows = check(text)
    assert rows["builds"].holds
    if "missing" not in new:
        assert rows[rule].holds is False
        assert said in rows[rule].found
    else:  # found as soon as it runs, and nothing is checked after it
        assert said in rows["lengths"].found
        assert rows[rule].holds is None


def test_a_variant_that_cannot_be_built_is_a_broken_rule(check: Check) -> None:
    rows = check(SOURCE.replace("nn.Linear(width, num_symbols)", "nn.Linear(width, none)"))
    assert rows["builds"].holds is False
    assert "NameError" in rows["builds"].found
    assert rows["JSON"].holds
    assert rows["padding"].holds is None
