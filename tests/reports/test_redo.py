import base64
import io
from collections.abc import Callable

import pandas as pd
import pytest

from reports import ReportInput
from reports.sections import redo

MakeInput = Callable[..., ReportInput]


def test_facts_are_grouped(study: ReportInput) -> None:
    shown = redo.numbers(study)
    assert list(shown.facts) == ["Budget", "Code", "Digests", "Machine", "Versions"]
    assert ("commit", "ddeef36b2f0a") in shown.facts["Code"]
    assert ("torch", "2.14.1+cpu") in shown.facts["Versions"]
    assert ("cpu_cores", "2") in shown.facts["Machine"]
    budget = dict(shown.facts["Budget"])
    assert budget["max_train_seconds"].split() == ["10", "min", "00", "s"]
    assert dict(shown.spaces["ds-gru"]) == {
        "optim.learning_rate": "0.0005 to 0.008, log",
        "model.dropout": "0 to 0.3",
        "optim.weight_decay": "0.001 to 0.1, log",
        "features.num_bins": "one of 40, 64, 80",
    }


@pytest.mark.parametrize(
    ("uri", "browse"),
    [
        ("sqlite:///mlflow.db", "mlflow ui --workers 1 --backend-store-uri sqlite:///mlflow.db"),
        ("https://mlflow.example.org", "https://mlflow.example.org"),
    ],
)
def test_how_to_look_at_mlflow(make_input: MakeInput, uri: str, browse: str) -> None:
    assert redo.numbers(make_input(tracking_uri=uri)).browse == browse


def test_downloads_hold_the_tables(study: ReportInput) -> None:
    downloads = {d.name: d for d in redo.numbers(study).downloads}
    csv = base64.b64decode(downloads["utterances"].uri.partition("base64,")[2]).decode()
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(csv)), study.utterances)
    assert downloads["runs"].num_rows == 22


def test_a_large_table_stays_out(study: ReportInput, make_input: MakeInput) -> None:
    large = pd.concat([study.utterances] * 20)
    shown = redo.numbers(make_input(utterances=large))
    assert [d.name for d in shown.downloads if not d.uri] == ["utterances"]
    assert "too large for this page" in redo.html(shown)
