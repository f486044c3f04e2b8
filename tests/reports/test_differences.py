from collections.abc import Callable
from dataclasses import replace

from reports.input import QuestionSummary, ReportInput, SystemSummary
from reports.sections import differences
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_only_keys_that_differ_are_listed_with_their_reason(study: ReportInput) -> None:
    configs = {
        name: {**config, "model.width": width, "model.convs": ((32, 11),), "optim.name": "adamw"}
        for (name, config), width in zip(study.configs.items(), (256, 224), strict=True)
    }
    systems = {
        name: SystemSummary(variant=name, settings={"model.width": 1}, changes=())
        for name in configs
    }
    asked = replace(study, configs=configs, design=replace(study.design, systems=systems))
    shown = differences.numbers(asked)
    assert [(row.key, row.values, row.origin) for row in shown.rows] == [
        ("model.cell", ("gru", "lstm"), "the variant"),
        ("model.dropout", ("0.1", "0.2"), "searched"),
        ("model.width", ("256", "224"), "matched"),
    ]
    assert shown.num_equal == 2
    changed = {
        name: SystemSummary(variant=name, settings={}, changes=("model.cell",)) for name in configs
    }
    asked = replace(asked, design=replace(study.design, systems=changed))
    assert differences.numbers(asked).rows[0].origin == "the question"


def test_a_key_that_one_lacks_is_a_dash(study: ReportInput) -> None:
    configs = dict(study.configs)
    configs["ds-lstm"] = {**configs["ds-lstm"], "model.lookahead": 20}
    rows = {row.key: row for row in differences.numbers(replace(study, configs=configs)).rows}
    assert rows["model.lookahead"].values == ("–", "20")


def test_twins_and_one_system_are_told(study: ReportInput, make_input: MakeInput) -> None:
    twins = {name: {"model.cell": "gru"} for name in study.configs}
    page = markup(differences, differences.numbers(replace(study, configs=twins)))
    assert "Nothing differs but the seeds" in page
    alone = make_input(systems=("ds-gru",))
    assert "There is one system" in markup(differences, differences.numbers(alone))


SYSTEMS = {
    "ds-gru": SystemSummary(variant="ds-gru", settings={"model.width": 306}, changes=()),
    "ds-lstm": SystemSummary(variant="ds-lstm", settings={}, changes=("model.cell",)),
}


def test_systems_are_listed_as_they_were_declared(study: ReportInput) -> None:
    design = replace(
        study.design,
        held_equal="2,000,000 parameters",
        question=QuestionSummary(base="ds-gru"),
        systems=SYSTEMS,
    )
    shown = differences.numbers(replace(study, design=design))
    gru, lstm = shown.declared
    assert (gru.settings, gru.difference) == ((("model.width", "306"),), "base")
    assert (lstm.settings, lstm.difference) == ((), "model.cell")
    page = markup(differences, shown)
    assert "2,000,000 parameters, to within 1 %" in page
    assert "Differs from the base in" in page
    assert "Differs from the base in" not in markup(differences, differences.numbers(study))


def test_several_differences_are_counted(study: ReportInput) -> None:
    both = replace(SYSTEMS["ds-lstm"], changes=("model.cell", "model.norm"))
    design = replace(study.design, systems={**SYSTEMS, "ds-lstm": both})
    shown = differences.numbers(replace(study, design=design))
    assert [row.difference for row in shown.declared] == ["", "2 things at once"]
