import base64
import io
import json
from collections.abc import Callable

import pandas as pd
import pytest

from reports.input import ReportInput
from reports.sections import reproduce
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_facts_are_grouped(study: ReportInput) -> None:
    shown = reproduce.numbers(study)
    assert list(shown.facts) == ["Budget", "Code", "Digests", "Machine", "Versions"]
    assert ("commit", "ddeef36b2f0a") in shown.facts["Code"]
    assert ("torch", "2.14.1+cpu") in shown.facts["Versions"]
    assert ("cpu_cores", "2") in shown.facts["Machine"]
    budget = dict(shown.facts["Budget"])
    assert budget["max_train_seconds"].split() == ["10", "min", "00", "s"]


def test_each_value_is_shown_with_what_set_it_and_what_was_searched(study: ReportInput) -> None:
    page = markup(reproduce, reproduce.numbers(study))
    (rate,) = [line for line in page.splitlines() if "optim.learning_rate" in line][:1]
    for shown in ("0.002", "0.0005 to 0.008, log", "trial: the best trial"):
        assert f"{shown}</td>" in rate
    assert "flag: --set</td>" in page
    assert f"python -m bench.ls config --study {study.study}" in page


@pytest.mark.parametrize(
    ("uri", "browse"),
    [
        ("sqlite:///mlflow.db", "mlflow ui --workers 1 --backend-store-uri sqlite:///mlflow.db"),
        ("https://mlflow.example.org", "https://mlflow.example.org"),
    ],
)
def test_how_to_look_at_mlflow(make_input: MakeInput, uri: str, browse: str) -> None:
    assert reproduce.numbers(make_input(tracking_uri=uri)).browse == browse


def test_downloads_hold_the_tables(study: ReportInput) -> None:
    downloads = {d.name: d for d in reproduce.numbers(study).downloads}
    csv = base64.b64decode(downloads["utterances.csv"].uri.partition("base64,")[2]).decode()
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(csv)), study.utterances)
    assert downloads["runs.csv"].size.split() == ["22", "rows"]


def test_the_code_is_part_of_doing_it_again(make_input: MakeInput, study: ReportInput) -> None:
    changed = make_input(diffs={"0a1b2c3d": "--- a\n+++ b\n"})
    shown = reproduce.numbers(changed)
    assert shown.commands.splitlines() == [
        "git checkout ddeef36b2f0a",
        "git apply changes-0a1b2c3d.patch",
        study.command,
    ]
    assert content(changed, "changes-0a1b2c3d.patch") == "--- a\n+++ b\n"
    assert shown.kept.splitlines()[0] == f"python -m bench.compare {study.study}"
    several = {**study.environment, "git.commit": "ddeef36b2f0a | 5c8ebd18fc4c"}
    assert reproduce.numbers(make_input(environment=several)).commands == study.command


def test_a_large_table_stays_out(study: ReportInput, make_input: MakeInput) -> None:
    large = pd.concat([study.utterances] * 20)
    shown = reproduce.numbers(make_input(utterances=large))
    assert [d.name for d in shown.downloads if not d.uri] == ["utterances.csv"]
    assert "too large for this page" in markup(reproduce, shown)


def content(study: ReportInput, name: str) -> str:
    (found,) = [d for d in reproduce.numbers(study).downloads if d.name == name]
    return base64.b64decode(found.uri.partition("base64,")[2]).decode()


def test_results_are_there_to_be_pasted(study: ReportInput) -> None:
    told = json.loads(content(study, "results.json"))
    assert told["verdict"] == study.verdict
    assert told["pairs"][0]["delta_wer"] == 0.051
    assert told["systems"][0]["real_time_factor"] is None
    mean = f"{100 * study.systems['wer_mean'][0]:.1f}"
    header, rule, gru, lstm = content(study, "results.md").splitlines()
    assert gru.startswith(f"| ds-gru | {mean} | ")
    assert header.count("|") == rule.count("|") == lstm.count("|")
    assert f"ds-gru & {mean} & " in content(study, "results.tex")


def test_names_do_not_break_the_tables(make_input: MakeInput) -> None:
    odd = make_input(systems=("a|b_50%&", "ds-gru"))
    assert "| a\\|b\\_50%& |" in content(odd, "results.md")
    assert r"a\textbar{}b\_50\%\& & " in content(odd, "results.tex")
