"""The transcripts of a watch utterance during training, and at the end with and without a language
model."""

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from bench.runs import Tables
from bench.study.decoding import read_heard
from reports.format import one_line
from reports.input import HeardSentence

EPOCHS = (1, 5, 15)
"""Shown beside the last one."""


def heard_sentences(folder: Path, tables: Tables) -> tuple[HeardSentence, ...]:
    """The first of the corpus's watch utterances in each confirm run of the study in `folder`; ()
    where none was transcribed at the end."""
    rows = read_heard(folder)
    if not rows:
        return ()
    id = rows[0].id
    watch = tables.watch[tables.watch["id"] == id]
    return tuple(
        HeardSentence(
            system=row.system,
            seed=row.seed,
            ref=one_line(row.ref),
            by_epoch=_by_epoch(watch[watch["run"] == f"{row.system}/{row.run}"]),
            greedy=one_line(row.greedy),
            beam=None if row.beam is None else one_line(row.beam),
        )
        for row in rows
        if row.id == id
    )


def _by_epoch(rows: pd.DataFrame) -> tuple[tuple[int, str], ...]:
    heard: Mapping[int, str] = {
        math.ceil(epoch): one_line(str(hyp))
        for epoch, hyp in zip(rows["epoch"], rows["hyp"], strict=True)
    }
    shown = [epoch for epoch in EPOCHS if epoch in heard]
    return tuple((e, heard[e]) for e in dict.fromkeys([*shown, *([max(heard)] if heard else [])]))
