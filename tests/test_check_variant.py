"""bench.check --variant and what bench.ls lists, as a user meets them."""

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import check, ls
from bench.core import cli, plugins
from bench.training.outside import OUTSIDE
from variants import VARIANTS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "your-own-variant.md").read_text()
SOURCE = PAGE.split("```python\n")[1].split("```")[0]
STUDY = PAGE.split("```toml\n")[1].split("```")[0]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Run]:
    monkeypatch.setattr(cli, "set_up_logging", lambda verbosity: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "mine.toml").write_text(STUDY)

    def done(command: ModuleType, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [command.__name__, *arguments])
        code: Any = 0
        try:
            cli.run(command.build_parser(), command.main)
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    yield done
    for key in list(OUTSIDE):
        del VARIANTS[key], OUTSIDE[key]


def test_the_page_is_followed_to_a_checked_variant(run: Run, tmp_path: Path) -> None:
    code, out, err = run(check, "--variant", "mine.py:residual", "--set", "model.width=24")
    assert (code, err) == (0, "")
    assert "padding           ok      alone and padded differ by" in out
    assert "BROKEN" not in out
    twin = SOURCE.replace(
        "self.output = nn", "self.unused = nn.Linear(2, 2)\n        self.output = nn"
    )
    (tmp_path / "mine.py").write_text(twin)
    code, out, err = run(
        check, "--variant", "mine.py:residual", "--set", "model.width=24", "--json"
    )
    assert code == 1
    assert (
        "breaks the contract: gradients: every parameter must get a gradient, none reaches unused"
        in err
    )
    rules = {row["rule"]: row["holds"] for row in json.loads(out)["rules"]}
    assert [rule for rule, holds in rules.items() if not holds] == ["gradients"]


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "got neither; give one"),
        (("--variant", "ds-gru", "--corpus", "spoken"), "got both; give one"),
        (("--corpus", "spoken", "--set", "model.width=2"), "--set goes with --variant"),
        (("--variant", "ds-gru", "--channel", "0"), "--channel goes with --corpus"),
        (("--variant", "mine.py:none"), "declares no variant 'none'; known: residual"),
        (("--variant", "mine.py:residual", "--set", "model.width=0"), "width must be at least 1, got 0"),
        (("--variant", "mine.py"), "is named FILE.py:NAME"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = run(check, *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_study_file_needs_no_python_and_no_checkout(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(ls, "config", "--study", "mine.toml", "--json")
    rows = json.loads(out)
    bare = {row["key"]: row for row in rows if row["system"] == "bare"}
    assert (code, bare["variant"]["value"], bare["model.norm"]["value"]) == (0, "ds-gru", "none")
    assert bare["model.width"]["origin"]["source"] == "mine.toml [systems.bare]"
    with_own = STUDY.replace('[systems.bare]\nvariant = "ds"\nmodel.norm = "none"', '[systems.bare]\nvariant = "mine.py:residual"')  # fmt: skip
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "mine.toml").write_text(with_own)
    (tmp_path / "mine.py").rename(tmp_path / "deep" / "mine.py")
    code, out, _ = run(ls, "config", "--study", "deep/mine.toml", "--json")
    bare = {row["key"]: row["value"] for row in json.loads(out) if row["system"] == "bare"}
    assert bare["variant"].startswith("residual@")
    assert bare["model.width"] == 320
    code, _, err = run(ls, "config", "--study", "none.toml")
    assert (code, err) == (2, "error: --study names a question or its file, none.toml is no file; correct the path\n")  # fmt: skip


def test_fields_are_listed_with_type_default_and_description(run: Run) -> None:
    code, out, _ = run(ls, "fields", "ds", "--json")
    rows = {row.pop("key"): row for row in json.loads(out)}
    assert code == 0
    assert rows["model.cell"]["type"].startswith("one of rnn, gru, lstm")
    assert rows["model.width"] == {
        "type": "whole number", "default": "256", "description": "Units of each direction of a recurrent layer.",
    }  # fmt: skip
    assert rows["model.convs"]["type"] == "list of lists of whole numbers"
    assert rows["model.dropout"]["type"] == "number"
    assert not [key for key in rows if key.startswith(("training.", "corpus.", "seed", "variant"))]
    _, out, _ = run(ls, "fields", "mine.py:residual")
    assert "model.width" in out
    assert "    Channels.\n" in out
    for arguments in (("fields",), ("recipes", "ds")):
        code, _, err = run(ls, *arguments)
        assert (code, err.count("\n")) == (2, 1)


def test_variants_of_packages_are_listed_like_built_in_ones(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = EntryPoint("residual", "mine_of_a_package:OURS", plugins.VARIANTS_GROUP)
    (tmp_path / "mine_of_a_package.py").write_text(SOURCE + "OURS = SPECS[0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    (found,) = ls.installed()
    assert set(found) == set(ls._variant_row("ds-gru"))
    assert found["name"] == "residual"
    assert "of the package" in str(found["summary"])
    others = [
        EntryPoint(name, value, plugins.VARIANTS_GROUP)
        for name, value in (("broken", "no_such_module:X"), ("ds-gru", "mine_of_a_package:OURS"))
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*others, entry])
    capsys.readouterr()
    assert ls.installed() == [found]
    first, second = capsys.readouterr().err.splitlines()
    assert "(no_such_module:X) must be importable, it raised ModuleNotFoundError" in first
    assert "declares 'ds-gru', a variant of this project; rename" in second
    del sys.modules["mine_of_a_package"]


def test_recipes_decoders_and_metrics_are_listed(run: Run) -> None:
    _, out, _ = run(ls, "recipes", "--json")
    assert {row["name"] for row in json.loads(out)} >= {"an4"}
    _, out, _ = run(ls, "decoders", "--json")
    summaries = {row["name"]: row["summary"] for row in json.loads(out)}
    assert "best symbol" in summaries["greedy"]
    assert "language model" in summaries["beam"]
    _, out, _ = run(ls, "metrics", "--json")
    wer = next(row for row in json.loads(out) if row["name"] == "wer")
    assert wer["better"] == "lower"
