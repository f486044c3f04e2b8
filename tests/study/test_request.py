"""The command of a study asks for all that its report holds: decoding and conditions too."""

import shlex
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from bench.data.utterance import Corpus
from bench.decoding.beam import BeamConfig
from bench.flags.sweep import build_parser
from bench.study.decoding import BEAM, PLAN, DecodingPlan, find_plan, plan_decoding
from bench.study.request import (
    beam_search_of,
    command_of,
    conditions_of,
    decoders_of,
    definition_of,
)
from bench.study.robustness import load_plan, plan_conditions
from bench.study.space import SWEEPS

ARPA = """\\data\\
ngram 1=4
ngram 2=1

\\1-grams:
-0.5 <s> -0.3
-0.5 </s>
-0.5 cab -0.3
-0.5 <unk>

\\2-grams:
-0.5 <s> cab

\\end\\
"""
KEPT = ("decoder", "lm", "lm_text", "lm_order", "open_vocabulary", "beam_width", "conditions")


def swept(arguments: list[str], folder: Path, corpus: Corpus) -> str:
    """What a sweep with `arguments` writes down in the study's `folder` of how it decodes and
    tests; returns the command that its report prints."""
    options = build_parser().parse_args(arguments)
    definition = definition_of(options, "cpu")
    if "beam" in decoders_of(options):
        search = beam_search_of(options, corpus)
        plan_decoding(folder, definition, search.model, search.config)
    if name := conditions_of(options):
        plan_conditions(folder, definition, name)
    return command_of(definition, find_plan(folder), load_plan(folder))


def parsed(command: str) -> Namespace:
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "bench.sweep"]
    return build_parser().parse_args(words[3:])


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--corpus 'manifest:/my data/m.jsonl+spoken+an4' --text drop",
        "--conditions noise",
        "--decoder beam",
        "--decoder beam --lm-order 2 --lm-text 'my text.txt' --lm-text b.txt --conditions noise",
        "--decoder beam --open-vocabulary --lm-text b.txt --beam-width 7",
        "--decoder beam --lm 'my words.arpa' --beam-width 7",
    ],
)
def test_the_printed_command_asks_for_the_same(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone_corpus: Corpus
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("my text.txt", "b.txt"):
        Path(name).write_text("a cab\nbee bed\n")
    Path("my words.arpa").write_text(ARPA)
    arguments = ["--variant", "ds-gru", "--budget", "smoke", *shlex.split(flags)]
    command = swept(arguments, tmp_path / "first", tone_corpus)

    given, again = build_parser().parse_args(arguments), parsed(command)
    assert {key: getattr(again, key) for key in KEPT} == {key: getattr(given, key) for key in KEPT}
    assert definition_of(again, "cpu") == definition_of(given, "cpu")
    assert swept(shlex.split(command)[3:], tmp_path / "second", tone_corpus) == command
    for plan in (BEAM / PLAN, Path("conditions/conditions.json")):
        first, second = (tmp_path / which / plan for which in ("first", "second"))
        assert first.exists() == second.exists()
        if first.exists():
            assert first.read_text() == second.read_text()


def test_a_question_that_asks_for_a_beam_or_conditions_is_repeated_as_it_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tone_corpus: Corpus
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = (SWEEPS / "studies" / "width.toml").read_text()
    Path("mine.toml").write_text(f'decoders = ["greedy", "beam"]\n{shipped}')
    # The file says beam, and the first study was told not to.
    for flags, decoders in (["--decoder", "greedy"], ("greedy",)), ([], ("greedy", "beam")):
        command = swept(["--study", "mine.toml", *flags], tmp_path / str(len(flags)), tone_corpus)
        assert decoders_of(parsed(command)) == decoders
    again = parsed(swept(["--study", "noise"], tmp_path / "noise", tone_corpus))
    assert (conditions_of(again), decoders_of(again)) == ("noise", ("greedy",))


def test_a_study_decoded_by_the_same_model_under_another_path_is_the_same(
    tmp_path: Path, tone_corpus: Corpus
) -> None:
    """The content of a file decides, not its path."""
    options = build_parser().parse_args(["--variant", "ds-gru", "--decoder", "beam"])
    definition, search = definition_of(options, "cpu"), beam_search_of(options, tone_corpus)
    moved = replace(search.model, config=replace(search.model.config, texts=(Path("moved.txt"),)))
    first = plan_decoding(tmp_path, definition, search.model, BeamConfig())
    assert plan_decoding(tmp_path, definition, moved, BeamConfig()) == first
    found = find_plan(tmp_path)
    assert isinstance(found, DecodingPlan)
    assert found.texts == ()
