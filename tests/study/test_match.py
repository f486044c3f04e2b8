"""Equal sizes: what was asked for is reached within 1 %, or what can be reached is said."""

from dataclasses import dataclass, replace

import pytest

from bench.core.config import updated
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.study.match import Match, check_size_is_fixed, size, solve_width
from bench.study.space import Dimension
from bench.training.config import RunConfig, build_model, default_run_config
from variants import VARIANTS
from variants.cost import macs_per_second, num_parameters

FAMILY = [name for name in VARIANTS if name.startswith("ds-")]


def config_of(variant: str) -> RunConfig:
    return default_run_config(variant, CorpusConfig())


@pytest.mark.parametrize(
    "text, quantity, target",
    [("params=2M", "params", 2_000_000), ("macs=1.5G", "macs", 1_500_000_000),
     ("params=750k", "params", 750_000), ("params=1234567", "params", 1_234_567)],
)  # fmt: skip
def test_a_match_reads_as_it_is_written(text: str, quantity: str, target: int) -> None:
    match = Match.parse(text)
    assert (match.quantity, match.target) == (quantity, target)
    assert Match.parse(str(match)) == match


@pytest.mark.parametrize(
    "text, message",
    [
        ("params", "--match reads params=NUMBER or macs=NUMBER, got 'params'"),
        ("params=2m", "got 'params=2m'"),
        ("params=0", "got 'params=0'"),
        ("params=0.1", "got 'params=0.1'"),
        ("parms=2M", "unknown quantity to match 'parms'; did you mean params"),
    ],
)
def test_another_form_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Match.parse(text)


@pytest.mark.parametrize(
    "variant, text",
    [*((name, "params=2M") for name in FAMILY), ("ds-gru", "macs=50M"), ("ds-bilstm", "macs=50M")],
)
def test_the_whole_family_is_brought_to_one_size(variant: str, text: str) -> None:
    match, config = Match.parse(text), config_of(variant)
    width = solve_width(config, match, variant)
    around = [size(match.quantity, updated(config, {"model.width": w})) for w in range(width - 1, width + 2)]  # fmt: skip
    misses = [abs(found - match.target) for found in around]
    assert misses[1] == min(misses), "the nearest width"
    assert misses[1] <= 0.01 * match.target
    assert around == sorted(around)


def test_what_is_counted_on_no_device_is_the_network_that_is_built() -> None:
    config = updated(config_of("ds-bilstm"), {"model.width": 24})
    model = build_model(config)
    assert size("params", config) == num_parameters(model)
    assert size("macs", config) == macs_per_second(model, config.features.num_bins)


@pytest.mark.parametrize(
    "text, convs, message",
    [
        ("params=100k", [[256, 21, 3]], r"ds-gru cannot have 100,000 parameters within 1 %, but has 345,697 at width 1; ask"),
        ("params=2900", [[8, 5, 3]], "but has 2,827 at width 2 and 2,979 at width 3; ask"),
        ("params=999G", [[8, 5, 3]], "at width 65,536; ask"),
    ],
)  # fmt: skip
def test_what_is_out_of_reach_is_said_with_what_is_not(
    text: str, convs: list[list[int]], message: str
) -> None:
    config = updated(config_of("ds-gru"), {"model.convs": convs})
    with pytest.raises(UserError, match=message):
        solve_width(config, Match.parse(text), "ds-gru")


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The config of a network without a single width."""

    widths: tuple[int, ...] = (3, 4)


def test_a_network_without_a_width_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(VARIANTS["ds-gru"], name="tapered", config=Widths())
    monkeypatch.setitem(VARIANTS, "tapered", spec)
    with pytest.raises(UserError, match=r"solves model\.width, which variant tapered has not"):
        solve_width(config_of("tapered"), Match.parse("params=2M"), "tapered")


@pytest.mark.parametrize(
    "key, choices, refused",
    [("model.dropout", (0.0, 0.3), False), ("optim.learning_rate", (1e-4, 1e-2), False),
     ("model.num_layers", (2, 4), True), ("features.num_bins", (40, 80), True),
     ("units.num_pieces", (0, 1024), True)],
)  # fmt: skip
def test_a_search_may_not_change_the_size_that_is_held_equal(
    key: str, choices: tuple[int | float, ...], refused: bool
) -> None:
    searched = {key: Dimension(choices=choices, default=choices[0])}
    config = config_of("ds-gru")
    match = Match(quantity="params", target=round(size("params", config)))
    if not refused:
        check_size_is_fixed(config, searched, match, "ds-gru")
        return
    (key,) = searched
    with pytest.raises(UserError, match=f"searches {key}, which changes that number"):
        check_size_is_fixed(config, searched, match, "ds-gru")
