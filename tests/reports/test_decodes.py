from collections.abc import Callable

import pandas as pd
import pytest

from reports.alignment import align
from reports.input import ReportInput
from reports.sections import decodes
from reports.sections.decodes import Cell, columns_of
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def utterances(hyps: dict[str, list[str]], ref: str = "we eat well") -> pd.DataFrame:
    """One confirm run a system, whose hypotheses of `ref` are `hyps`."""
    rows = [
        {"run": f"{system}/confirm-0", "system": system, "seed": 7, "id": f"u{i:02d}"}
        | {"speaker": "Ann", "seconds": 1.5, "num_ref_words": 3, "ref": ref, "hyp": hyp}
        | {"substitutions": sum(a != b for a, b in zip(ref.split(), hyp.split(), strict=False))}
        | {"deletions": 0, "insertions": 0}
        for system, texts in hyps.items()
        for i, hyp in enumerate(texts)
    ]
    return pd.DataFrame(rows)


def test_alignments_with_one_reference_share_columns() -> None:
    ref = ["we", "eat", "well"]
    hyps = ["so we ate well", "we well now"]
    columns = columns_of(ref, [align(ref, hyp.split()) for hyp in hyps])
    gap = Cell("", "")
    assert columns == [
        (gap, Cell("insertion", "so"), gap),
        (Cell("match", "we"), Cell("match", "we"), Cell("match", "we")),
        (Cell("match", "eat"), Cell("substitution", "ate"), Cell("deletion", "eat")),
        (Cell("match", "well"), Cell("match", "well"), Cell("match", "well")),
        (gap, gap, Cell("insertion", "now")),
    ]


def test_every_system_shows_the_same_utterances(
    study: ReportInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decodes, "NUM_SHOWN", 40)
    shown = decodes.numbers(study)
    assert [group for group, _ in shown.groups] == ["apart", "worst", "median", "best"]
    ids = [decode.id for _, group in shown.groups for decode in group]
    assert len(ids) == len(set(ids)) == 40
    assert shown.num_utterances == 48
    for _, group in shown.groups:
        assert all([row.system for row in d.rows] == ["ds-gru", "ds-lstm"] for d in group)
    errors = {g: [sum(r.num_errors for r in d.rows) for d in ds] for g, ds in shown.groups}
    assert min(errors["worst"]) >= max(errors["best"])


def test_the_choice_is_by_the_errors_of_all_systems(make_input: MakeInput) -> None:
    table = utterances(
        {
            "ds-gru": ["we eat well", "we ate well", "we ate welt"],
            "ds-lstm": ["he ate welt", "we eat well", "we ate well"],
        }
    )
    shown = decodes.numbers(make_input(utterances=table))
    assert [(group, [d.id for d in found]) for group, found in shown.groups] == [
        ("", ["u02", "u00", "u01"])
    ]
    assert shown.seeds == (("ds-gru", 7), ("ds-lstm", 7))
    spread = {decode.id: decode.spread for _, found in shown.groups for decode in found}
    assert spread == {"u00": 1.0, "u01": 1 / 3, "u02": 1 / 3}


def test_only_what_all_systems_scored(make_input: MakeInput) -> None:
    table = utterances({"ds-gru": ["we eat well"] * 3, "ds-lstm": ["we eat well"]})
    assert decodes.numbers(make_input(utterances=table)).num_utterances == 1


def test_marks_have_a_form_besides_their_colour(make_input: MakeInput) -> None:
    table = utterances({"ds-gru": ["so we ate"]})
    page = markup(decodes, decodes.numbers(make_input(utterances=table)))
    (article,) = page.split("<article")[1:]
    assert "<ins>so</ins>" in article
    assert "<mark>ate</mark>" in article
    assert "<del>eat</del>" in article
    assert 'data-searched="u00 ann we eat well so we ate"' in article


def test_long_transcripts_are_cut_and_broken_into_lines(make_input: MakeInput) -> None:
    table = utterances({"ds-gru": ["word " * 5000]}, ref="word " * 4000)
    ((_, (decode,)),) = decodes.numbers(make_input(utterances=table)).groups
    assert decode.was_cut
    assert sum(len(line) for line in decode.lines) == decodes.MAX_WORDS
    widths = [sum(len(column[0].word) + 1 for column in line) for line in decode.lines]
    assert max(widths) <= decodes.LINE_LETTERS


def test_no_decodes_are_told_in_words(make_input: MakeInput) -> None:
    assert "no decodes to show" in markup(decodes, decodes.numbers(make_input(num_seeds=0)))


def test_those_that_differ_most_come_first(
    make_input: MakeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decodes, "NUM_SHOWN", 4)
    table = utterances(
        {
            "ds-gru": ["we eat well", "we ate welt", "he ate welt", "we ate well", "we eat well"],
            "ds-lstm": ["he ate welt", "we ate welt", "he ate welt", "we ate well", "we eat well"],
        }
    )
    groups = dict(decodes.numbers(make_input(utterances=table)).groups)
    assert [decode.id for decode in groups["apart"]] == ["u00"]
    assert [decode.id for decode in groups["worst"]] == ["u02"]
    assert [decode.id for decode in groups["best"]] == ["u04"]
