"""A study in which every text that comes from outside is hostile."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from reports.input import ConfigValue, CorpusSummary, ReportInput, SearchRange, SplitSummary

MakeInput = Callable[..., ReportInput]
EVIL = (
    "</script><script>window.caught=1</script><!--\u2028\u202e"
    "\"'><img src=x onerror=window.caught=1>"
)


def poisoned(make_input: MakeInput) -> ReportInput:
    """A study in which every text that comes from outside is hostile."""
    base = make_input(systems=(EVIL, "ds-gru"))

    def poison(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
        return table.assign(**dict.fromkeys(columns, EVIL + "x" * 10_000))

    runs = poison(base.runs, "message", "mlflow_run_id", "state")
    runs["params"] = [{EVIL: EVIL}] * len(runs)
    return make_input(
        systems=(EVIL, "ds-gru"),
        study=EVIL,
        verdict=EVIL,
        command=EVIL,
        tracking_uri=EVIL,
        corpus=CorpusSummary(
            name=EVIL,
            digest=EVIL,
            notes=(EVIL,),
            leakage={EVIL: 1},
            excluded={EVIL: 2},
            splits=(SplitSummary(split=EVIL, num_utterances=1, num_speakers=1, seconds=1.0),),
        ),
        budget=replace(base.budget, name=EVIL, settings={EVIL: EVIL}),
        environment={EVIL: EVIL},
        spaces={EVIL: {EVIL: SearchRange(choices=(EVIL, "b"))}},
        values={EVIL: (ConfigValue(key=EVIL, value=EVIL, layer=EVIL, source=EVIL, searched=EVIL),)},
        runs=runs.assign(run=base.runs["run"], valid_wer=0.5),
        utterances=poison(base.utterances, "speaker", "hyp"),
        watch=poison(base.watch, "ref", "hyp"),
    )
