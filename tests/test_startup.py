"""What a command imports before it works: nothing that takes seconds for help or a usage error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import ls
from bench.core.paths import remembered

ROOT = Path(__file__).resolve().parents[1]
VERBS = sorted(path.stem for path in (ROOT / "bench").glob("*.py") if path.stem != "__init__")
HEAVY = (
    "torch", "torchaudio", "numpy", "scipy", "pandas", "mlflow", "optuna", "matplotlib", "plotly", "sqlalchemy", "ray",
)  # fmt: skip

RUN_ALL = """
import contextlib, io, json, runpy, sys
commands, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
told = []
for verb, *arguments in commands:
    sys.argv = [verb, *arguments]
    code, out = 0, io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            runpy.run_module(f"bench.{verb}", run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    told.append([verb, code, [name for name in heavy if name in sys.modules]])
print(json.dumps(told))
"""


def run_all(commands: list[list[str]]) -> list[list[object]]:
    """Verb, exit code, and the heavy modules that are imported after each of `commands`, which run
    in one fresh process."""
    arguments = [json.dumps(commands), json.dumps(HEAVY)]
    ended = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    told: list[list[object]] = json.loads(ended.stdout)
    return told


def test_help_and_usage_errors_import_nothing_heavy() -> None:
    commands = [[verb, flag] for verb in VERBS for flag in ("--help", "--no-such-flag")]
    codes = {"--help": 0, "--no-such-flag": 2}
    assert run_all(commands) == [[verb, codes[flag], []] for verb, flag in commands]


def test_the_list_of_variants_is_counted_once() -> None:
    rows = remembered("variants", ls.variants)
    assert run_all([["ls", "variants", "--json"]]) == [["ls", 0, []]]
    assert remembered("variants", lambda: []) == rows


def test_what_is_remembered_is_computed_anew_for_other_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bench.core.paths.ROOT", tmp_path)
    source = tmp_path / "variants" / "some.py"
    source.parent.mkdir()
    for text, expected in (("a = 1", 1), ("a = 1", 1), ("a = 2", 3)):
        source.write_text(text)
        assert remembered("numbers", iter([expected, 9]).__next__) == expected
    (kept, other) = (tmp_path / "cache" / "memo").iterdir()
    for path in (kept, other):
        path.write_text("torn")
    assert remembered("numbers", lambda: 4) == 4


def test_a_cache_that_cannot_be_written_costs_time_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("not a folder")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    assert remembered("numbers", lambda: 5) == 5
