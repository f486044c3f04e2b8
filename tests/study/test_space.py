import shutil
from pathlib import Path

import pytest

from bench.core.config import updated
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.study.space import SWEEPS, Dimension, load_budget, load_budgets, load_space
from bench.training.config import RunConfig, default_run_config
from variants import VARIANTS

BASE = '[fixed]\n"optim.optimizer" = "adamw"\n'
RATE = '[search."optim.learning_rate"]\nlow = 0.001\nhigh = 0.01\nlog = true\ndefault = 0.002\n'
TUNED = '[tuned_on]\nvariant = "ds-gru"\ncorpus = "spoken"\ntext = "2"\nbudget = "quick"\n'


@pytest.fixture
def config() -> RunConfig:
    return default_run_config("ds-gru", CorpusConfig())


def folder(path: Path, base: str = BASE + RATE, own: str = "") -> Path:
    shutil.copy(SWEEPS / "budgets.toml", path)
    (path / "base.toml").write_text(base)
    if own:
        (path / "ds-gru.toml").write_text(own)
    return path


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_has_a_space_whose_defaults_its_config_takes(variant: str) -> None:
    base = default_run_config(variant, CorpusConfig())
    space = load_space(variant, base)
    assert space.search
    updated(base, {**space.fixed, **space.defaults()})


def test_every_file_of_sweeps_belongs_to_a_variant() -> None:
    names = {path.stem for path in SWEEPS.glob("*.toml")} - {"base", "budgets"}
    assert names <= set(VARIANTS)


def test_a_variant_is_the_base_plus_its_difference(tmp_path: Path, config: RunConfig) -> None:
    own = '[search]\n"optim.learning_rate" = false\n[search."model.dropout"]\n'
    own += 'choices = [0.0, 0.2]\ndefault = 0.2\n[fixed]\n"optim.weight_decay" = 0.5\n'
    space = load_space("ds-gru", config, folder(tmp_path, own=own))
    assert space.fixed == {"optim.optimizer": "adamw", "optim.weight_decay": 0.5}
    assert space.search == {"model.dropout": Dimension(choices=(0.0, 0.2), default=0.2)}


@pytest.mark.parametrize(
    "base, message",
    [
        ('[fixed]\n"optim.learning_rat" = 1\n[search."model.dropout"]\nlow=0.0\nhigh=0.1\ndefault=0.0\n', "did you mean learning_rate"),
        (RATE.replace("0.002", "0.2"), "default 0.2 lies outside 0.001 to 0.01"),
        (RATE.replace("low = 0.001", "low = 0.1"), "needs low < high"),
        ('[search."model.dropout"]\nlow = 0.0\nhigh = 3.0\ndefault = 0.1\n', "dropout"),
        ('[search."training.num_epochs"]\nlow = 1\nhigh = 3\ndefault = 2\n', "belongs to the budget"),
        ('[fixed]\n"training.max_train_seconds" = 9\n' + RATE, "belongs to the budget"),
        ("[fixed]\ntraining.max_train_seconds = 9\n" + RATE, "'training.max_train_seconds' belongs to the budget"),
        ("[fixed]\ncorpus = {name = 'an4'}\n" + RATE, "'corpus.name' belongs to the budget"),
        ("[budget]\nnum_trials = 9\n", r"got \[budget\]"),
        (TUNED.replace("ds-gru", "ds-gro"), r"unknown variant in \[tuned_on\] of .*did you mean ds-gru"),
        (TUNED.replace("spoken", "spoken+spokn"), r"unknown corpus in \[tuned_on\]"),
        (TUNED.replace("quick", "quik"), r"unknown budget in \[tuned_on\]"),
        (TUNED.replace('text = "2"', "text = 2"), r"tuned_on.text"),
        (TUNED.replace('text = "2"', ""), r"text"),
        (TUNED + 'day = "today"\n', r"unknown config key .*tuned_on.day"),
        ("[fixed\n", "is not valid TOML"),
    ],
)  # fmt: skip
def test_bad_spaces_are_named(tmp_path: Path, config: RunConfig, base: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_space("ds-gru", config, folder(tmp_path, base=base))


def test_a_file_says_on_what_it_was_tuned(tmp_path: Path, config: RunConfig) -> None:
    space = load_space("ds-gru", config, folder(tmp_path, base=TUNED + RATE, own=BASE))
    assert [str(found) for found in space.tuned_on.values()] == [
        "ds-gru on spoken (text version 2, budget quick)"
    ]
    (file,) = space.tuned_on
    assert file.endswith("base.toml")


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_logarithmic_ranges_reach_two_octaves_to_either_side(variant: str) -> None:
    space = load_space(variant, default_run_config(variant, CorpusConfig()))
    for key, dimension in space.search.items():
        if dimension.log:
            assert isinstance(dimension.default, float)
            assert dimension.low is not None
            assert dimension.high is not None
            assert dimension.default / 4 >= dimension.low * 0.999, key
            assert dimension.default * 4 <= dimension.high * 1.001, key


def test_budgets_grow(tmp_path: Path) -> None:
    budgets = load_budgets()
    assert list(budgets) == [
        "smoke",
        "quick",
        "short",
        "medium",
        "standard",
        "full",
        "seeds",
        "record",
    ]
    trials = [b.num_trials * b.search_epochs for b in budgets.values() if b.pruner != "none"]
    assert trials == sorted(trials)
    with pytest.raises(UserError, match="unknown budget 'quik'; did you mean quick"):
        load_budget("quik")
    (tmp_path / "budgets.toml").write_text(
        '[none]\nsummary=""\nnum_trials=0\nsearch_epochs=1\nconfirm_epochs=1\nmax_train_seconds=1\nnum_seeds=1\n'
        "startup_trials=0\nwarmup_epochs=0\n"
    )
    with pytest.raises(UserError, match="num_trials must be at least 1, got 0"):
        load_budget("none", tmp_path)
