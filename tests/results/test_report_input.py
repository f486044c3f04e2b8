"""What the report is told about a study's design, and the command that repeats it."""

from bench.data.corpora import CorpusConfig
from bench.results.report_input import command_of, describe_design
from bench.study.definition import StudyDefinition, define
from bench.study.match import Match
from bench.study.question import load_study_file
from bench.study.space import load_budget

BUDGET = load_budget("smoke")


def definition_of(name: str) -> StudyDefinition:
    study = load_study_file(name)
    return define(
        study.systems, CorpusConfig(), BUDGET, seed=0, device="cpu", settings={},
        match=study.match, question=study.question,
    )  # fmt: skip


def test_a_question_is_told_with_its_systems_and_what_is_equal() -> None:
    design = describe_design(definition_of("sortagrad"))
    assert design["held_equal"] == "1,500,000 parameters"
    systems, question = design["systems"], design["question"]
    assert isinstance(systems, dict)
    assert isinstance(question, dict)
    assert ["sorted-batch", "shuffled-batch"] in question["better"]
    changes = {label: row["changes"] for label, row in systems.items()}
    assert changes["shuffled-batch"] == []
    assert changes["sorted-none"] == ["batches.sortagrad", "model.norm"]
    assert {row["settings"]["model.width"] for row in systems.values()} == {313}


def test_without_a_question_nothing_is_claimed() -> None:
    plain = define(
        ["ds-gru", "ds-lstm"], CorpusConfig(), BUDGET, seed=0, device="cpu",
        settings={"optim.momentum": 0.8}, match=Match.parse("params=2M"),
    )  # fmt: skip
    design = describe_design(plain)
    assert (design["question"], design["held_equal"]) == ({}, "2,000,000 parameters")
    assert command_of(plain) == (
        "python -m bench.sweep --variant ds-gru --variant ds-lstm --match params=2M "
        "--corpus spoken --budget smoke --seed 0 --set optim.momentum=0.8"
    )


def test_nothing_held_equal_is_said_by_nothing() -> None:
    assert describe_design(definition_of("width"))["held_equal"] == ""
