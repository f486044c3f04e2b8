"""The README's tables of results are what its own command prints from the kept comparisons."""

import re
import sys
from pathlib import Path

import pytest

from bench import compare

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(
    r"<!-- (sweeps/results/\S+) -->\n(.*?)\n<!-- end -->",
    (ROOT / "README.md").read_text("utf-8"),
    flags=re.DOTALL,
)


def test_every_kept_comparison_is_shown() -> None:
    shown = {path for path, _ in BLOCKS}
    assert shown == {f"sweeps/results/{p.name}" for p in (ROOT / "sweeps/results").glob("*.jsonl")}


@pytest.mark.parametrize(("path", "table"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_a_table_is_what_its_command_prints(
    path: str,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare"])
    compare.main(compare.build_parser().parse_args([str(ROOT / path), "--markdown"]))
    assert table.strip() == capsys.readouterr().out.strip()
