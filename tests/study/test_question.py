"""Every shipped question holds its contract; a damaged one says what is wrong with it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import parse_corpus
from bench.study.definition import StudyDefinition
from bench.study.match import size
from bench.study.question import StudyFile, load_study_file, load_study_files
from bench.study.space import SWEEPS, load_budget
from tests.studies import study_of

NAMES = sorted(path.stem for path in (SWEEPS / "studies").glob("*.toml"))
SHIPPED = {"cells", "depth", "width", "front-end", "look-ahead", "sortagrad", "data-scale", "published", "default-or-tuned", "batch-norm", "dropout", "augmentation", "lstm-or-gru", "subword"}  # fmt: skip

GOOD = """
summary = "Is wider better?"
claim = "Wider is better."
source = "nobody"
better = [["wide", "narrow"]]
base = "narrow"
corpus = "spoken"
budget = "smoke"
[systems.narrow]
variant = "ds-gru"
"model.width" = 16
[systems.wide]
variant = "ds-gru"
model.width = 32
"""


def defined(study: StudyFile) -> StudyDefinition:
    corpus, budget = parse_corpus(study.corpus), load_budget(study.budget)
    return study_of(
        study.systems, budget, corpus=corpus, match=study.match, question=study.question
    )


def written(folder: Path, text: str) -> Path:
    (folder / "studies").mkdir()
    (folder / "studies" / "wider.toml").write_text(text)
    return folder


def test_the_questions_that_the_field_leaves_open_are_shipped() -> None:
    assert set(NAMES) >= SHIPPED
    assert list(load_study_files()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_study_can_be_run(name: str) -> None:
    study = load_study_file(name)
    definition = defined(study)
    assert list(definition.systems) == list(study.systems)
    assert len(definition.systems) > 1
    claims_a_direction = name != "lstm-or-gru"
    assert bool(study.question.better) == claims_a_direction, "a claim of equality has no direction"
    sizes = {label: size("params", definition.base_config(label)) for label in definition.systems}
    if study.match is not None:
        for label in definition.systems:
            assert study.match.holds(size(study.match.quantity, definition.base_config(label)))
    assert min(sizes.values()) > 0, "every network can be built"
    assert definition.changes(study.question.base) == ()
    twins = 1 if name == "sanity" else 0  # on purpose: the benchmark must not tell them apart
    assert len({str(s) for s in definition.systems.values()}) == len(definition.systems) - twins


@pytest.mark.parametrize("name", ["cells", "depth", "sortagrad"])
def test_rows_of_one_factor_stand_beside_rows_of_several(name: str) -> None:
    definition = defined(load_study_file(name))
    counts = {len(definition.changes(label)) for label in definition.systems}
    assert counts == {0, 1, 2}


@pytest.mark.parametrize("name", NAMES)
def test_every_system_of_a_study_gets_the_same_budget(name: str) -> None:
    definition = defined(load_study_file(name))
    budget = definition.budget
    for label in definition.systems:
        defaults = {key: d.default for key, d in definition.searched(label).items()}
        trial = definition.trial(label, 3, defaults).config.training
        confirm = definition.confirm(label, 1, defaults).config.training
        assert trial.max_train_seconds == confirm.max_train_seconds == budget.max_train_seconds
        assert trial.num_epochs == budget.search_epochs
        assert confirm.num_epochs == budget.confirm_epochs
        assert trial.patience is None


def test_the_baseline_is_the_questions_else_the_first_system() -> None:
    asked = defined(load_study_file("depth"))
    assert asked.question is not None
    assert asked.baseline == asked.question.base
    reversed_ = dict(reversed(asked.systems.items()))
    assert replace(asked, systems=reversed_).baseline == asked.baseline
    assert replace(asked, systems=reversed_, question=None).baseline == next(iter(reversed_))


def test_settings_may_be_dotted_with_or_without_quotes(tmp_path: Path) -> None:
    study = load_study_file("wider", written(tmp_path, GOOD))
    assert study.systems["wide"].settings == {"model.width": 32}
    assert study.systems["wide"].summary() == "ds-gru with model.width=32"
    assert study.match is None
    definition = defined(study)
    assert definition.base_config("wide").model.width == 32
    assert definition.changes("wide") == ("model.width",)
    assert definition.name.startswith("wider.spoken.smoke.")


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('budget = "smoke"', "", r"wider.toml: a study names its budget"),
        ('source = "nobody"', "", "^wider.toml: lacks source; give every required key"),
        ('base = "narrow"', 'base = "narrow"\nlooks = 3', "'wider.toml looks' takes a list of whole numbers, got 3"),
        ('base = "narrow"', 'base = "narrow"\nmargin_points = 0', "^wider.toml: a margin of equivalence is"),
        ('base = "narrow"', 'base = "narrow"\nname = "mine"', "^wider.toml: a study is named by its file, got name"),
        ('base = "narrow"', 'base = "narrow"\nfile = "mine"', "^wider.toml: a study is named by its file, got file"),
        ('["wide", "narrow"]', '["wide", "wide"]', "^wider.toml: better holds pairs of systems, two different"),
        ('["wide", "narrow"]', '["wide", "narrow"], ["wide", "narrow"]', "better holds each pair once and one way"),
        ('["wide", "narrow"]', '["wide", "narrow"], ["narrow", "wide"]', "better holds each pair once and one way"),
        ('base = "narrow"', 'base = "narrow"\ndecoders = ["greedy", 5]', r"^wider.toml: decoders is a list that begins"),
        ('base = "narrow"', 'base = "narrow"\ndecoders = ["greedy", ["beam"]]', "^wider.toml: decoders is a list"),
        ('base = "narrow"', 'base = "narrow"\ndecoders = ["greedy", "bea"]', "unknown decoder in wider.toml 'bea'"),
        ('base = "narrow"', 'base = "narrow"\nconditions = 0', "^wider.toml: conditions is the name of a set, got 0"),
        ('base = "narrow"', 'base = "narrow"\nconditions = ["noise"]', "^wider.toml: conditions is the name of a set"),
        ('source = "nobody"', 'sorce = "nobody"', "'wider.toml sorce'; did you mean source"),
        ('base = "narrow"', 'base = "narow"', "unknown system of wider.toml 'narow'; did you mean narrow"),
        ('["wide", "narrow"]', '["wide", "thin"]', "unknown system of wider.toml 'thin'"),
        ('["wide", "narrow"]', '["wide"]', r"better holds pairs of systems, .* got \['wide'\]"),
        ("[systems.wide]", '[systems."../x"]', "the name of a system begins with a letter or digit"),
        ('"ds-gru"\nmodel.width = 32', '"ds-gruu"', "unknown variant 'ds-gruu'; did you mean ds-gru"),
        ('variant = "ds-gru"\nmodel.width', "model.width", "a system is a variant and its settings"),
        ("model.width = 32", "training.num_epochs = 99", "'training.num_epochs' belongs to the budget"),
        ("model.width = 32", '"training.max_train_seconds" = 9', "belongs to the budget"),
        ("model.width = 32", 'corpus.name = "an4"', "'corpus.name' belongs to the budget or the study"),
        ('base = "narrow"', 'base = "narrow"\nmatch = "params=x"', "^wider.toml: match reads params=NUMBER"),
        ("[systems.wide]", "[systems.wide", "is not valid TOML"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=message) as caught:
        load_study_file("wider", written(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_the_files_of_other_editors_are_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "wider.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_study_file(str(path)).systems["wide"].settings == {"model.width": 32}
    path.write_text(GOOD, encoding="utf-16")
    with pytest.raises(UserError, match=r"wider.toml cannot be read: it is UTF-16 text; conv"):
        load_study_file(str(path))


def test_an_unknown_study_brings_the_near_ones() -> None:
    with pytest.raises(UserError, match="unknown study 'dept'; did you mean depth"):
        load_study_file("dept")


def test_a_margin_is_two_points_unless_the_question_says_else(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    path = tmp_path / "studies" / "wide.toml"
    path.write_text(GOOD)
    question = load_study_file("wide", tmp_path).question
    assert (question.margin_points, question.claims) == (2.0, (("wide", "narrow"),))
    path.write_text("margin_points = 0.5\n" + GOOD)
    assert load_study_file("wide", tmp_path).question.margin_points == 0.5
    for wrong in ("0", "-1", "100", "nan"):
        path.write_text(f"margin_points = {wrong}\n" + GOOD)
        with pytest.raises(UserError, match="a margin of equivalence is above 0 and below 100"):
            load_study_file("wide", tmp_path)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_system_at_the_defaults_is_the_first_trial_of_the_tuned_one(cell: str) -> None:
    definition = defined(load_study_file("default-or-tuned"))
    fixed, tuned = (definition.first(f"{cell}-{how}").config for how in ("default", "tuned"))
    assert replace(fixed, seed=0) == replace(tuned, seed=0)
    assert definition.searched(f"{cell}-default") == {}
    assert definition.searched(f"{cell}-tuned")


def test_a_study_names_its_conditions(tmp_path: Path) -> None:
    assert load_study_file("noise").conditions == "noise"
    assert load_study_file("cells").conditions == ""
    text = (
        (SWEEPS / "studies/noise.toml")
        .read_text()
        .replace('conditions = "noise"', 'conditions = "nois"')
    )
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(
        UserError, match=r"set of conditions in mine\.toml 'nois'; did you mean noise"
    ):
        load_study_file(str(tmp_path / "mine.toml"))
