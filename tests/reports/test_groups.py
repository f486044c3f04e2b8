from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from reports.columns import COLUMNS
from reports.input import ReportInput
from reports.sections import groups
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def with_groups(study: ReportInput, name: str = "gender", differs: bool = True) -> ReportInput:
    rows = [
        (name, group, system, wer, wer - 0.05, wer + 0.06, 70, 7, 500)
        for group, wer in (("f", 0.2), ("m", 0.3))
        for system in ("ds-gru", "ds-lstm")
    ]
    gain = (name, "f", "ds-gru", "ds-lstm", 0.1, 0.02, 0.01, 0.15, 0.975, 0.004, differs)
    return replace(
        study,
        groups=pd.DataFrame(rows, columns=list(COLUMNS["groups"])),
        gains=pd.DataFrame([gain], columns=list(COLUMNS["gains"])),
    )


def test_rates_by_group_and_gains_that_differ(study: ReportInput) -> None:
    shown = groups.numbers(with_groups(study))
    (attribute,) = shown.attributes
    assert [row.group for row in attribute.groups] == ["f", "m"]
    assert attribute.groups[1].wers[0].mean == 0.3
    assert (attribute.num_differing, attribute.gains[0]["delta_inside"]) == (1, 0.1)
    page = markup(groups, shown).replace("\N{NO-BREAK SPACE}", " ")
    for said in ("By gender", "+10.0", "+8.0", "97.5", "differs by group", "1 of 1 differences"):
        assert said in page
    none = markup(groups, groups.numbers(with_groups(study, differs=False)))
    assert "No difference between systems is found" in none


def test_hostile_names_are_text(study: ReportInput) -> None:
    page = markup(groups, groups.numbers(with_groups(study, '"><script>x</script>' + "y" * 10_000)))
    assert "<script" not in page


def test_without_groups_there_is_a_sentence(make_input: MakeInput) -> None:
    assert "Nothing that would part" in markup(groups, groups.numbers(make_input(num_seeds=0)))
