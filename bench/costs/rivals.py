"""The baselines at work, in a process of their own.

Ours keeps the memory that it frees (see bench.training.device), and what a process asks of malloc
holds for all of it: within ours, plain would train 15 % faster than where somebody runs it.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from bench.core.cores import num_cores
from bench.costs.arithmetic import synchronizer
from bench.costs.baselines import Baseline, family_batches, packed_copy, plain_batches
from bench.costs.contest import Contender, Turn, take_turn
from bench.costs.excerpt import network_and_excerpt
from bench.costs.processes import processes
from bench.data.utterance import Corpus
from bench.runs import set_mlflow_defaults
from bench.training.config import RunConfig
from bench.training.device import resolve_device
from variants.spec import AcousticModel

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the baselines train, where; plain values, so that they cross to another process."""

    config: RunConfig
    corpus: Corpus
    minutes: float
    """See `excerpt`."""
    device: str
    tracking_uri: str
    """Of the store that family logs to."""


@contextmanager
def rivals(setting: Setting, model: AcousticModel) -> Iterator[Mapping[str, Contender]]:
    """The baselines of `model`, the network of `setting`, by name; none if its recurrence is its
    own."""
    if packed_copy(model) is None:
        _logger.warning("%s has no baselines: its recurrence is its own", setting.config.variant)
        yield {}
        return
    with processes(1, _prepare, setting) as submit:

        def contend(name: str, seconds: float) -> Turn:
            return submit(_take_turn, name, seconds).result()

        yield {name: partial(contend, name) for name in ("family", "plain")}


class DirectLog:
    """A run in MLflow, to which metrics are sent one at a time while training waits: how most
    training scripts do it, and what `bench.runs.Tracker` avoids."""

    def __init__(self, uri: str, name: str) -> None:
        """Create the run `name`.

        Raises:
            UserError: a store that cannot be opened.
        """
        # Here, not at the top: mlflow takes 1.5 s to import, and --help shall not wait for it.
        from bench.runs.mlflow.store import connect

        store = connect(uri)
        self._client = store.client
        self._run_id = store.create_run(store.experiment("direct"), name, {}).info.run_id

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        """Send each of `metrics`, and wait for each."""
        for key, value in metrics.items():
            self._client.log_metric(self._run_id, key, value, step=step)


_baselines: dict[str, Baseline] = {}
"""Of this process, which is the one begun by `rivals`."""


def _prepare(setting: Setting) -> None:
    set_mlflow_defaults()

    torch.set_num_threads(1)
    config, device = setting.config, resolve_device(setting.device)
    plain, data = network_and_excerpt(config, setting.corpus, setting.minutes)
    family = packed_copy(plain)
    assert family is not None
    heard = family_batches(data.train, config, num_cores() if device.type == "cuda" else 0)
    log = DirectLog(setting.tracking_uri, config.variant)
    _baselines["family"] = Baseline(config, family, heard, device, log)
    _baselines["plain"] = Baseline(config, plain, plain_batches(data.train, config), device)


def _take_turn(name: str, seconds: float) -> Turn:
    baseline = _baselines[name]
    return take_turn(baseline.step, seconds, synchronize=synchronizer(baseline.device))
