"""Every flag of every command with values that nobody can mean: refused in a line, never taken for
something else."""

import argparse
import importlib
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.core import cli
from bench.core.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
VERBS = sorted(path.stem for path in (ROOT / "bench").glob("[!_]*.py"))
NUMBERS = (
    "", " ", "nan", "NaN", "inf", "-inf", "1e400", "-1", "0", "x", "1,5", "1 2", "0x10", "\n", "9" * 30, "9" * 5000, "-" + "9" * 30,
)  # fmt: skip


def parsers(verb: str) -> Iterator[argparse.ArgumentParser]:
    """The parser of `verb`, and those of its kinds."""
    parser = importlib.import_module(f"bench.{verb}").build_parser()
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def flags(verb: str) -> Iterator[tuple[argparse.ArgumentParser, argparse.Action]]:
    for parser in parsers(verb):
        for action in parser._actions:
            if action.nargs != 0 and not isinstance(action, argparse._SubParsersAction):
                yield parser, action


@pytest.mark.parametrize("verb", VERBS)
def test_numbers_are_finite_and_in_range_or_refused(verb: str) -> None:
    for _, action in flags(verb):
        if action.type is None or action.type is Path:
            continue
        assert callable(action.type)
        assert action.type not in (int, float), f"{action.dest} takes NaN, or any number"
        for text in NUMBERS:
            try:
                value = action.type(text)
            except UserError:
                continue
            assert math.isfinite(value), (action.dest, text)
            least = -1e30 if action.dest == "beta" else 0  # a word's bonus may be a penalty
            assert least <= value <= 1e30, (action.dest, text)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("value", "rule"), [("", "an empty value"), ("a\0b", "NUL"), ("\udcff", "must be UTF-8")]
)
def test_texts_that_are_empty_or_no_text(verb: str, value: str, rule: str) -> None:
    for parser, action in flags(verb):
        names = action.option_strings[-1:]
        for given in ([*names, value], [f"{names[0]}={value}"] if names else [value]):
            with pytest.raises(UserError, match=rule):
                cli.parse(parser, given)


def test_the_flag_is_named() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus")
    for given in (["--corpus", ""], ["--corpus="]):
        with pytest.raises(UserError, match="--corpus has an empty value; give one"):
            cli.parse(parser, given)
    assert cli.parse(parser, ["--corpus", "a=b="]).corpus == "a=b="
