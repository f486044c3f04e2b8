from collections.abc import Callable

import pandas as pd

from reports.input import ReportInput
from reports.sections import transcript_progress
from reports.sections.transcript_progress import Span
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def watch(rows: list[tuple[str, str, float, str]], ref: str = "a human") -> pd.DataFrame:
    """Watch transcripts: (system, kind, epoch, hypothesis)."""
    return pd.DataFrame(
        {"run": f"{system}/{kind}-0", "system": system, "kind": kind, "seed": 3, "id": "w0"}
        | {"epoch": epoch, "step": 1, "ref": ref, "hyp": hyp}
        for system, kind, epoch, hyp in rows
    )


def test_letters_are_aligned() -> None:
    spans, errors = transcript_progress.spans_of("human", "hxmans")
    assert spans == (
        Span("match", "h"),
        Span("substitution", "x"),
        Span("match", "man"),
        Span("insertion", "s"),
    )
    assert errors == 2
    assert transcript_progress.spans_of("ab", "") == ((Span("deletion", "ab"),), 2)


def test_the_first_confirm_run_of_each_system(study: ReportInput) -> None:
    shown = transcript_progress.numbers(study)
    assert [s.label for s in shown.sources] == ["confirm run, seed 1001"] * 2
    assert shown.epochs == tuple(range(1, 13))
    assert shown.utterances[0].ref == "i am a human saying human things"
    first, last = (shown.utterances[0].history[k][1][0] for k in (0, -1))
    assert first is not None
    assert last is not None
    assert first.cer > last.cer


def test_trials_stand_in_and_gaps_stay_gaps(make_input: MakeInput) -> None:
    table = watch(
        [
            ("ds-gru", "trial", 1.0, "a"),
            ("ds-gru", "trial", 2.0, "a human"),
            ("ds-lstm", "confirm", 0.4, "a hum"),
            ("ds-lstm", "trial", 2.0, "never shown"),
        ]
    )
    shown = transcript_progress.numbers(make_input(watch=table))
    assert [source.label for source in shown.sources] == ["trial, seed 3", "confirm run, seed 3"]
    (utterance,) = shown.utterances
    cers = {epoch: [t and t.cer for t in found] for epoch, found in utterance.history}
    # An evaluation after 0.4 epochs counts as the first epoch's.
    assert cers == {1: [6 / 7, 2 / 7], 2: [0.0, None]}
    assert "never shown" not in markup(transcript_progress, shown)


def test_long_transcripts_are_cut(make_input: MakeInput) -> None:
    table = watch([("ds-gru", "confirm", 1.0, "b" * 10_000)], ref="a" * 10_000)
    (utterance,) = transcript_progress.numbers(make_input(watch=table)).utterances
    assert len(utterance.ref) == transcript_progress.MAX_LETTERS


def test_missing_letters_are_dots(make_input: MakeInput) -> None:
    page = markup(
        transcript_progress,
        transcript_progress.numbers(make_input(watch=watch([("ds-gru", "confirm", 1, "an")]))),
    )
    assert '<span class="gap" title="missing:  huma">·····</span>' in page
    assert "<small>71\N{NO-BREAK SPACE}%</small>" in page


def test_no_watch_utterances_give_a_sentence(make_input: MakeInput) -> None:
    shown = transcript_progress.numbers(make_input(watch=watch([("x", "trial", 1, "a")])[:0]))
    assert "No run has transcribed a watch utterance" in markup(transcript_progress, shown)
