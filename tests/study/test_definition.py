"""A study is what it was begun with: systems, sizes, settings; nothing is mixed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.config import parse_settings
from bench.core.errors import UserError
from bench.data.corpora import parse_corpus
from bench.stats.looks import Plan
from bench.study.definition import (
    FILE,
    SeedsRaised,
    StudyDefinition,
    begin_or_return,
    load,
)
from bench.study.match import Match, size
from bench.study.question import Question, System, load_study_file
from bench.study.rounds import budget_sentence, raised_sentence, round_of_run
from bench.study.space import load_budget
from tests.studies import study_of

QUESTION = Question(
    name="depth", summary="", claim="Deeper is better.", source="nobody",
    better=(("deep", "flat"),), base="flat",
)  # fmt: skip
SYSTEMS = {
    "flat": System(variant="ds-gru", settings={"model.num_layers": 1}),
    "deep": System(variant="ds-gru", settings={"model.num_layers": 5, "model.norm": "none"}),
}


def study(systems: Any = SYSTEMS, settings: tuple[str, ...] = (), **more: Any) -> StudyDefinition:
    return study_of(systems, seed=1, settings=parse_settings(settings), **more)


def test_a_variant_is_a_system_by_its_own_name() -> None:
    definition = study(["ds-gru", "ds-lstm"])
    assert definition.systems == {v: System(variant=v) for v in ("ds-gru", "ds-lstm")}
    assert definition.name.startswith("ds-gru+ds-lstm.spoken.smoke.")
    assert definition.changes("ds-lstm") == (), "nothing is asked"


def test_a_system_pins_what_it_sets_and_keeps_the_variants_space() -> None:
    systems = {**SYSTEMS, "dry": System(variant="ds-gru", settings={"model.dropout": 0.0})}
    definition = study(systems, ("optim.weight_decay=0.02",), question=QUESTION)
    assert definition.trial("deep", 0, {}).config.model.num_layers == 5
    assert "model.dropout" in definition.searched("deep")
    assert "model.dropout" not in definition.searched("dry")
    assert "optim.weight_decay" not in definition.searched("deep")
    assert definition.base_config("dry").optim.weight_decay == 0.02
    assert definition.changes("deep") == ("model.norm", "model.num_layers")
    assert definition.changes("flat") == ()


def test_two_systems_may_be_copies_and_are_searched_apart() -> None:
    twins = {"a": System(variant="ds-gru"), "b": System(variant="ds-gru")}
    definition = study(twins)
    assert definition.base_config("a") == definition.base_config("b")


def test_solved_widths_are_settings_and_part_of_the_name(tmp_path: Path) -> None:
    match = Match.parse("params=1M")
    definition = study(match=match, question=QUESTION)
    widths = {s: definition.systems[s].settings["model.width"] for s in SYSTEMS}
    assert widths["flat"] > widths["deep"]
    for label in SYSTEMS:
        assert match.holds(size("params", definition.base_config(label)))
    assert definition.changes("deep") == ("model.norm", "model.num_layers"), "not the solved width"
    others = {study().name, study(match=Match.parse("params=2M")).name}
    assert definition.name not in others
    begin_or_return(tmp_path, definition)
    assert load(tmp_path) == replace(
        definition, budget=load(tmp_path).budget, corpus=load(tmp_path).corpus
    )
    begin_or_return(tmp_path, definition)
    wider = replace(definition, match=Match.parse("params=2M"))
    with pytest.raises(UserError, match=r"match\.target was 1000000, is 2000000"):
        begin_or_return(tmp_path, wider)
    restated = replace(definition, question=replace(QUESTION, claim="Flat is better."))
    with pytest.raises(UserError, match=r"question.claim was 'Deeper is better\.'"):
        begin_or_return(tmp_path, restated)


@pytest.mark.parametrize(
    "settings, message",
    [
        ("model.num_layers=2", "would change what makes flat differ from the others"),
        ("model.width=64", r"--match solves model\.width, which --set sets"),
        ("training.num_epochs=9", "what the budget or the study fixes"),
        ('training={"num_epochs": 9}', "--set training.num_epochs would change what the budget"),
        ('corpus={"name": "an4"}', "--set corpus.name would change"),
        ("model.num_layer=2", "did you mean num_layers"),
    ],
)
def test_what_set_may_not_change(settings: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        study(settings=(settings,), match=Match.parse("params=1M"))


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"model.num_layer": 2},
            "system odd: unknown config key 'model.num_layer'; did you mean num_layers",
        ),
        ({"model.num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"model.width": 64}, "--match solves model.width, which system odd sets"),
    ],
)
def test_what_a_system_may_not_set(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study({"odd": System(variant="ds-gru", settings=settings)}, match=Match.parse("params=1M"))


def test_a_space_that_searches_the_size_cannot_be_matched(tmp_path: Path) -> None:
    layers = '[search."model.num_layers"]\nlow = 1\nhigh = 5\ndefault = 3\n'
    (tmp_path / "base.toml").write_text(layers)
    with pytest.raises(UserError, match=r"the space of ds-gru searches model\.num_layers"):
        study(["ds-gru"], match=Match.parse("params=1M"), sweeps=tmp_path)
    widths = '[search."model.width"]\nlow = 16\nhigh = 64\ndefault = 32\n'
    (tmp_path / "base.toml").write_text(widths)
    solved = study(["ds-gru"], match=Match.parse("params=1M"), sweeps=tmp_path)
    assert solved.searched("ds-gru") == {}, "the width is solved, so it is not searched"


def test_params_never_override_the_budget() -> None:
    config = study().trial("flat", 0, {"training.num_epochs": 99}).config
    assert config.training.num_epochs == load_budget("smoke").search_epochs


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: plain["budget"].update(num_trails=3),
        lambda plain: plain.pop("systems"),
        lambda plain: plain.update(spaces=3),
        lambda plain: plain["corpus"].update(max_seconds="long"),
        lambda plain: plain.pop("layout_version"),
        lambda plain: plain.update(layout_version=1),
    ],
)
def test_a_file_of_another_version_is_named(
    damage: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    definition = study_of(["ds-gru"])
    begin_or_return(tmp_path, definition)
    assert load(tmp_path) == definition
    plain = json.loads((tmp_path / FILE).read_text())
    damage(plain)
    (tmp_path / FILE).write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"study\.json is damaged or .* move the folder away"):
        load(tmp_path)


def test_a_seed_is_that_of_one_run_of_one_system() -> None:
    """A twin of the baseline that had its seeds would repeat its texts, and never be told apart."""
    sanity = load_study_file("sanity")
    corpus, budget = parse_corpus(sanity.corpus), load_budget(sanity.budget)

    def seeds(seed: int) -> list[int]:
        made = study_of(sanity.systems, budget, corpus=corpus, seed=seed)
        runs = [(label, slot) for label in made.systems for slot in range(20)]
        return [made.confirm(label, slot, {}).config.seed for label, slot in runs] + [
            made.trial(label, slot, {}).config.seed for label, slot in runs
        ]

    assert len({*seeds(0), *seeds(1)}) == 2 * len(seeds(0)) == 320
    assert seeds(0) == seeds(0)


def test_a_seed_says_where_it_comes_from() -> None:
    made = study(["ds-gru"])
    origin = made.confirm("ds-gru", 2, {}).origins["seed"]
    assert origin.source == "--seed 1, ds-gru, confirm run 2"


PLAN = Plan(looks=(3, 5, 8))


def test_a_plan_is_part_of_a_study_and_cannot_be_made_later(tmp_path: Path) -> None:
    fixed, planned = study(), study(plan=PLAN)
    assert fixed.name != planned.name
    begin_or_return(tmp_path, planned)
    assert load(tmp_path).plan == PLAN
    begin_or_return(tmp_path, planned)
    with pytest.raises(UserError, match=r"plan\.looks was '3,5,8', is '3,5,8,12'"):
        begin_or_return(tmp_path, study(plan=Plan(looks=(3, 5, 8, 12)), name=planned.name))
    with pytest.raises(UserError, match=r"begun with a plan of looks, .*; add --until-decided"):
        begin_or_return(tmp_path, replace(fixed, name=planned.name))
    begin_or_return(tmp_path / "fixed", fixed)
    with pytest.raises(
        UserError, match=r"begun without a plan of looks, .*; leave out --until-decided"
    ):
        begin_or_return(tmp_path / "fixed", replace(planned, name=fixed.name))
    with pytest.raises(UserError, match="got ds-gru alone; name another, or leave --until-decided"):
        study(["ds-gru"], plan=PLAN)


def with_seeds(definition: StudyDefinition, num: int) -> StudyDefinition:
    return replace(definition, budget=replace(definition.budget, num_seeds=num))


def test_seeds_may_be_raised_and_the_study_says_so(tmp_path: Path) -> None:
    definition = study()
    begin_or_return(tmp_path, with_seeds(definition, 2))
    begin_or_return(tmp_path, with_seeds(definition, 3))
    assert load(tmp_path).raised == (), "nothing had been seen"
    assert load(tmp_path).budget.num_seeds == 3
    run = tmp_path / "runs" / "flat" / "confirm-0"
    run.mkdir(parents=True)
    (run / "utterances-test.jsonl").touch()
    for _ in range(2):
        begin_or_return(tmp_path, with_seeds(definition, 5))
        assert load(tmp_path).raised == (SeedsRaised(before=3, after=5),)
    begin_or_return(tmp_path, with_seeds(definition, 8))
    stamp = raised_sentence(load(tmp_path))
    assert stamp.startswith("seeds were raised from 3 to 5 to 8 after results had been seen; error")
    assert raised_sentence(definition) == ""
    with pytest.raises(UserError, match=r"budget\.num_seeds was 8, is 5"):
        begin_or_return(tmp_path, with_seeds(definition, 5))
    with pytest.raises(UserError, match="seed was 1, is 2"):
        begin_or_return(tmp_path, with_seeds(replace(definition, seed=2), 9))
    assert load(tmp_path).budget.num_seeds == 8


def test_how_many_runs_a_study_has_is_said_beforehand() -> None:
    rungs = "the better half goes on after epoch 2: 2 → 1 trials, 75 % of all their epochs"
    told = f"4 trials of 4 epochs ({rungs}), then 4 confirm runs of 4 epochs"
    assert told in budget_sentence(study())
    sentence = budget_sentence(study(plan=PLAN))
    assert "then 6 confirm runs of 4 epochs" in sentence
    assert "16 at most (looks at 3, 5, 8 seeds, pocock spending of alpha)" in sentence


def test_a_confirm_run_knows_its_round() -> None:
    planned = study(plan=PLAN)
    rounds = [round_of_run(planned, "confirm", slot) for slot in range(8)]
    assert rounds == [1, 1, 1, 2, 2, 3, 3, 3]
    assert round_of_run(planned, "trial", 0) == round_of_run(study(), "confirm", 4) == 0
