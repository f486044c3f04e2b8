"""What the report is told about a study's design, and the command that repeats it."""

import shlex
from pathlib import Path

import pandas as pd

from bench.core.files import write_json
from bench.data.corpora import CorpusConfig
from bench.results.report_input import (
    describe_design,
    describe_facts,
    real_time_factors,
    recorded_diffs,
)
from bench.runs.layout import DIFF, ENVIRONMENT
from bench.study.match import Match
from bench.study.question import System
from bench.study.request import command_of
from bench.study.space import load_budget
from tests.speed_rows import speed_row
from tests.studies import record_of, study_of, study_on

BUDGET = load_budget("smoke")


def test_a_design_has_the_question_its_systems_and_what_is_equal() -> None:
    design = describe_design(study_on("sortagrad"))
    assert design.held_equal == "1,500,000 parameters"
    assert design.question
    assert ("sorted-batch", "shuffled-batch") in design.question.better
    changes = {label: system.changes for label, system in design.systems.items()}
    assert changes["shuffled-batch"] == ()
    assert changes["sorted-none"] == ("batches.sortagrad", "model.norm")
    assert {system.settings["model.width"] for system in design.systems.values()} == {313}


def test_without_a_question_nothing_is_claimed() -> None:
    plain = study_of(
        ["ds-gru", "ds-lstm"],
        settings={"optim.momentum": 0.8},
        match=Match.parse("params=2M"),
    )
    design = describe_design(plain)
    assert (design.question, design.held_equal) == (None, "2,000,000 parameters")
    assert command_of(plain) == (
        "python -m bench.sweep --variant ds-gru --variant ds-lstm --match params=2M "
        "--corpus spoken --budget smoke --seed 0 --set optim.momentum=0.8 --device cpu"
    )


def test_a_design_without_a_match_has_no_size_held_equal() -> None:
    assert describe_design(study_on("width")).held_equal == ""


def test_the_command_is_what_a_shell_takes_back() -> None:
    corpus = CorpusConfig(name="manifest", path="/my data/a.jsonl")
    settings = {"model.convs": [[8, 1, 3]]}
    study = study_of(["ds-gru"], corpus=corpus, settings=settings)
    words = shlex.split(command_of(study))
    assert "manifest:/my data/a.jsonl" in words
    assert "model.convs=[[8, 1, 3]]" in words


def test_real_time_factors_are_of_equal_conditions_and_of_the_width_at_hand() -> None:
    plain = study_of(["ds-gru", "ds-lstm"], settings={"model.width": 128})
    rows = [
        speed_row(variant=variant, width=width, device=device, real_time_factor=factor)
        for variant, width, device, factor in (
            ("ds-gru", 128, "cpu", 0.04),
            ("ds-lstm", 128, "cpu", 0.05),
            ("ds-gru", 128, "cuda", 0.01),
            ("ds-gru", 256, "cpu", 0.09),
        )
    ]
    assert real_time_factors(plain, rows) == {"ds-gru": 0.04, "ds-lstm": 0.05}
    assert real_time_factors(plain, []) == {}


def test_no_real_time_factor_of_a_network_that_was_not_measured() -> None:
    no_front_end = {"no_front_end": System(variant="ds-gru", settings={"model.convs": [[8, 1, 3]]})}
    study = study_of(no_front_end)
    width = study.base_config("no_front_end").model.width
    assert real_time_factors(study, [speed_row(variant="ds-gru", width=width)]) == {}


def test_facts_are_of_scored_confirm_runs_and_say_where_they_do_not_agree(tmp_path: Path) -> None:
    study = study_of()
    rows = []
    for slot, cpu in enumerate(("old", "new", "unscored")):
        run = f"ds-gru/confirm-{slot}"
        folder = tmp_path / "runs" / run
        record_of(folder, kind="confirm", slot=slot, seed=slot, data_digest="d1")
        write_json(folder / ENVIRONMENT, {"cpu": cpu, "git.commit": 40 * "a"})
        test_wer = float("nan") if cpu == "unscored" else 0.2
        rows.append({"run": run, "system": "ds-gru", "kind": "confirm", "test_wer": test_wer})
    (tmp_path / "runs/ds-gru/confirm-1" / DIFF).write_text("+ a line")
    facts = describe_facts(tmp_path, study, "ds-gru", pd.DataFrame(rows))
    assert (facts["hardware"], facts["data"], facts["decoder"]) == ("new | old", "d1", "greedy")
    assert facts["budget.num_seeds"] == str(BUDGET.num_seeds)
    clean, changed = facts["code"].split(" | ")
    assert (clean, changed.partition(" with changes ")[0]) == (12 * "a", 12 * "a")
    assert recorded_diffs(tmp_path) == {changed.partition(" with changes ")[2]: "+ a line"}
    assert describe_facts(tmp_path, study, "ds-gru", pd.DataFrame(rows[2:])) == {}
