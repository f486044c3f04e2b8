from collections.abc import Callable

from reports.input import ReportInput
from reports.sections import runs
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_every_run_in_order(study: ReportInput, make_input: MakeInput) -> None:
    shuffled = make_input(runs=study.runs.sample(frac=1, random_state=1))
    rows = runs.numbers(shuffled).rows
    names = [f"trial-{slot:03d}" for slot in range(8)] + [f"confirm-{slot}" for slot in range(3)]
    expected = [f"{system}/{name}" for system in ("ds-gru", "ds-lstm") for name in names]
    assert [row["run"] for row in rows] == expected
    failed = rows[6]
    assert (failed["state"], failed["message"]) == ("failed", "RuntimeError: not enough memory")


def test_the_table_has_states_and_ids(study: ReportInput) -> None:
    page = markup(runs, runs.numbers(study))
    assert all(run_id in page for run_id in study.runs["mlflow_run_id"])
    assert page.count("✖") == page.count("■") == 2
    assert page.count("not enough memory") == 2
    assert "attempt" not in page


def test_runs_lead_to_their_pages_in_mlflow(make_input: MakeInput, study: ReportInput) -> None:
    run_id = study.runs["mlflow_run_id"].iloc[0]
    served = make_input(tracking_uri="https://ann:***@mlflow.example.org/lab/")
    page = markup(runs, runs.numbers(served))
    assert f'href="https://mlflow.example.org/lab/#/runs/{run_id}"' in page
    assert page.count("<a href=") == len(study.runs)
    assert "***" not in page
    assert "mlflow ui" not in page
    unsent = make_input(
        tracking_uri="https://mlflow.example.org", runs=study.runs.assign(mlflow_run_id="")
    )
    assert "<a href=" not in markup(runs, runs.numbers(unsent))


def test_pages_that_nobody_serves_are_said_with_the_command_that_does(
    make_input: MakeInput, study: ReportInput
) -> None:
    here = make_input(tracking_uri="sqlite:////my data/mlflow.db")
    found = runs.numbers(here)
    assert (
        found.browse == "mlflow ui --workers 1 --backend-store-uri 'sqlite:////my data/mlflow.db'"
    )
    last = found.rows[-1]
    assert last["run"] == "ds-lstm/confirm-2"
    assert found.page == f"http://127.0.0.1:5000/#/runs/{last['mlflow_run_id']}"
    page = markup(runs, found)
    assert found.page in page
    assert "<a href=" not in page
    unsent = make_input(runs=study.runs.assign(mlflow_run_id=""))
    assert "mlflow ui" not in markup(runs, runs.numbers(unsent))


def test_a_run_that_was_begun_again_shows_its_attempt(
    make_input: MakeInput, study: ReportInput
) -> None:
    again = make_input(runs=study.runs.assign(attempt=[2] + [1] * (len(study.runs) - 1)))
    assert markup(runs, runs.numbers(again)).count("attempt 2") == 1


def test_many_runs_are_folded(make_input: MakeInput) -> None:
    assert "<details open>" in markup(runs, runs.numbers(make_input()))
    many = markup(runs, runs.numbers(make_input(num_trials=runs.MAX_OPEN)))
    assert "<details>" in many


def test_no_runs_give_a_sentence(make_input: MakeInput) -> None:
    assert "No run has been recorded" in markup(
        runs, runs.numbers(make_input(num_trials=0, num_seeds=0))
    )
