"""Metrics sent one at a time."""

from bench.costs.baselines import DirectLog
from tests.runs.conftest import STORE, Lab


def test_each_metric_of_each_step_arrives_at_once(lab: Lab) -> None:
    log = DirectLog(STORE.uri, "tiny")
    for step in (1, 2):
        log({"loss": 3.0 / step, "grad_norm": 1.0}, step)
    experiment = lab.client.get_experiment_by_name("direct")
    assert experiment
    (run,) = lab.client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "tiny"
    assert lab.history(run, "loss") == [(1, 3.0), (2, 1.5)]
    assert lab.history(run, "grad_norm") == [(1, 1.0), (2, 1.0)]
