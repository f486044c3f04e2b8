from collections.abc import Callable

from reports.input import MethodConstants, ReportInput, StudyDesign
from reports.sections import method
from tests.reports.drawing import markup

MakeInput = Callable[..., ReportInput]


def test_the_constants_are_those_of_the_code(make_input: MakeInput) -> None:
    told = MethodConstants(
        level=0.9, alpha=0.01, power=0.7, margin=0.03, num_replicates=1234, fewest_linearised=7
    )
    shown = method.numbers(make_input(design=StudyDesign(method=told)))
    assert (shown.fewest_seeds, shown.num_speakers, shown.num_pairs) == (3, 6, 1)
    page = markup(method, shown).replace("\N{NO-BREAK SPACE}", " ")
    for said in (
        "90 %",
        "1 %",
        "70 %",
        "1,234 replicates",
        "1 pair",
        "±3.0 points",
        "fewer than 7",
        '"quick"',
    ):
        assert said in page.replace("&#34;", '"'), said


def test_an_empty_study_has_a_method_too(make_input: MakeInput) -> None:
    shown = method.numbers(make_input(num_trials=0, num_seeds=0))
    assert shown.fewest_seeds == 0
    assert markup(method, shown)
