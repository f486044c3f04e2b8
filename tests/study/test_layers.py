"""Which layer has the last word, and that every command says so alike."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.config import Layer, Origin, flatten
from bench.core.errors import UserError
from bench.core.paths import OUT
from bench.flags import ls as ls_flags
from bench.flags import sweep as sweep_flags
from bench.flags import train as train_flags
from bench.ls import config as listed
from bench.study.definition import Sources, StudyDefinition, begin_or_return, load
from bench.study.layers import LAYERS, Explained, explained, resolve_run, searched
from bench.study.request import definition_of, single_run_of
from bench.study.space import Dimension, Space

RATE = "optim.learning_rate"


def study(*arguments: str) -> StudyDefinition:
    return definition_of(sweep_flags.build_parser().parse_args(list(arguments)), "cpu")


def options(*arguments: str) -> argparse.Namespace:
    return ls_flags.build_parser().parse_args(["config", *arguments])


def rows(*arguments: str) -> dict[str, Explained]:
    (found,) = listed(options(*arguments)).values()
    return {row.key: row for row in found}


def test_each_layer_overrides_those_before_it_in_whatever_order_they_come() -> None:
    rates = {name: (n + 1) / 1000 for n, name in enumerate(LAYERS)}
    layers = [Layer(Origin(name, name), {RATE: rate}) for name, rate in rates.items()]
    for count in range(2, len(LAYERS) + 1):
        found = resolve_run("ds-gru", reversed(layers[:count]))
        assert found.config.optim.learning_rate == rates[LAYERS[count - 1]]
        assert found.origins[RATE].layer == LAYERS[count - 1]
    twice = [Layer(Origin("flag", name), {RATE: rate}) for name, rate in (("a", 0.1), ("b", 0.2))]
    assert resolve_run("ds-gru", twice).origins[RATE].source == "b"


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_what_a_layer_stronger_than_a_trial_sets_is_not_searched(layer: str) -> None:
    dimension = Dimension(low=0.001, high=0.01, default=0.002)
    space = Space(fixed={}, search={RATE: dimension}, files={RATE: "x.toml"})
    found = searched(space, resolve_run("ds-gru", [Layer(Origin(layer, "x"), {RATE: 0.003})]))
    weak = LAYERS.index(layer) <= LAYERS.index("trial")
    assert found == ({RATE: dimension} if weak else {})


def test_a_learning_rate_is_told_from_its_file_to_its_trial() -> None:
    definition = study("--variant", "ds-gru", "--variant", "deepspeech2")
    first, second = (definition.first(label).origins[RATE] for label in definition.systems)
    assert first == Origin("space", "sweeps/base.toml")
    assert second == Origin("space", "sweeps/deepspeech2.toml")
    trial = definition.trial("ds-gru", 3, {RATE: 0.002})
    assert trial.origins[RATE] == Origin("trial", "trial 3")
    assert trial.origins["seed"] == Origin("seed", "--seed 0, ds-gru, trial 3")
    assert trial.origins["training.num_epochs"] == Origin("budget", "sweeps/budgets.toml [quick]")
    confirm = definition.confirm("ds-gru", 1, {RATE: 0.002})
    assert confirm.origins[RATE] == Origin("trial", "the best trial")
    pinned = study("--variant", "ds-gru", "--set", f"{RATE}=0.004")
    assert pinned.trial("ds-gru", 3, {}).origins[RATE] == Origin("flag", "--set")
    assert RATE not in pinned.searched("ds-gru")


def test_a_studys_file_is_the_origin_of_its_settings_its_corpus_and_its_match() -> None:
    file = "sweeps/studies/depth.toml"
    own = study("--study", "depth")
    origins = own.base("layers-5-batch").origins
    assert origins["model.num_layers"] == Origin("system", f"{file} [systems.layers-5-batch]")
    assert origins["corpus.name"] == Origin("corpus", file)
    assert origins["model.width"] == Origin("match", f"{file}, {own.match}")
    again = ["--study", "depth", "--corpus", own.corpus.name, "--match", str(own.match)]
    named = study(*again)
    origins = named.base("layers-5-batch").origins
    assert origins["corpus.name"] == Origin("corpus", "--corpus")
    assert origins["model.width"] == Origin("match", f"--match, {own.match}")
    assert (named, named.name) == (own, own.name), "where a value came from changes no study"
    assert origins["model.convs"] == Origin("variant", "variants/deepspeech.py ds-birnn")
    assert origins["optim.momentum"] == Origin("default", "bench/training/optim.py")


def test_origins_outlive_the_command_and_never_make_another_study(tmp_path: Path) -> None:
    definition = study("--study", "depth")
    begin_or_return(tmp_path, definition)
    found = load(tmp_path)
    assert found.first("layers-5-batch") == definition.first("layers-5-batch")
    space = found.spaces["layers-5-batch"]
    moved = replace(space, files=dict.fromkeys(space.files, "elsewhere.toml"))
    spaces = {**found.spaces, "layers-5-batch": moved}
    begin_or_return(tmp_path, replace(found, spaces=spaces, sources=Sources(corpus="elsewhere")))
    plain = json.loads((tmp_path / "study.json").read_text())
    plain["spaces"]["layers-5-batch"]["files"].pop(RATE)
    (tmp_path / "study.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=f"it lacks {RATE}"):
        load(tmp_path)


def test_train_and_ls_say_the_same_of_a_recipe() -> None:
    given = ["--recipe", "an4", "--set", "model.width=32", "--text", "drop"]
    run = single_run_of(train_flags.build_parser().parse_args(given))
    told = rows(*given)
    assert {row.key: row.origin for row in told.values()} == run.origins
    assert told["training.num_epochs"].origin == Origin("recipe", "sweeps/recipes/an4.toml")
    assert told["corpus.name"].origin == Origin("corpus", "sweeps/recipes/an4.toml")
    assert told["corpus.text"].origin == Origin("corpus", "--text")
    assert told["model.width"].origin == Origin("flag", "--set")
    assert all(row.searched is None for row in told.values())


def test_a_variant_is_listed_as_a_study_of_it_begins() -> None:
    told = rows("--variant", "ds-gru", "--match", "params=2M", "--budget", "smoke")
    definition = study("--variant", "ds-gru", "--match", "params=2M", "--budget", "smoke")
    first = definition.first("ds-gru")
    assert tuple(told.values()) == explained(first, definition.searched("ds-gru"))
    assert told.keys() == flatten(first.config).keys()
    assert told["model.width"].origin == Origin("match", "--match, params=2M")
    assert str(told[RATE].searched) == "0.000375 to 0.006, log"
    assert told["corpus.name"].origin == Origin("corpus", "--corpus (default)")


def test_the_systems_of_a_study_are_listed_before_and_after_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = listed(options("--study", "depth"))
    assert list(asked) == list(study("--study", "depth").systems)
    definition = study("--study", "depth", "--budget", "smoke", "--name", "mine")
    begin_or_return(OUT / "mine", definition)
    (label,) = listed(options("--study", "mine", "--variant", "layers-5-batch"))
    assert label == "layers-5-batch"
    assert rows("--study", "mine", "--variant", label)["training.num_epochs"].value == 4
    with pytest.raises(UserError, match=r"mine has been begun, .* got --budget --set; leave"):
        listed(options("--study", "mine", "--budget", "full", "--set", "a=1"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "a config is that of --variant V, --study NAME or --recipe NAME; give one"),
        (["--study", "dept"], "unknown study 'dept'; did you mean depth"),
        (["--study", "depth", "--variant", "layers-5-bach"], "'layers-5-bach'; did you mean layers-5-batch"),
        (["--recipe", "an4", "--match", "params=2M"], "a recipe has a width, got --match params=2M"),
        (["--variant", "ds-gru", "--corpus", "spokn"], "unknown corpus 'spokn'; did you mean spoken"),
        (["--variant", "ds-gru", "--set", "optim.learning_rte=1"], "^--set: unknown config key 'optim.learning_rte'; did you mean learning_rate"),
        (["--recipe", "an4", "--set", "variant=ds-gru"], "--variant sets the variant, got --set variant=ds-gru; use that"),
        (["--recipe", "an4", "--set", "seed=3"], "--seed sets the seed, got --set seed=3; use that"),
    ],
)  # fmt: skip
def test_what_cannot_be_listed_is_said(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        listed(options(*arguments))
