"""The tables of results in README.md and docs/results: `python -m tests.pages` writes them anew.

A block begins with ``<!-- FILE -->`` or ``<!-- FILE, systems -->`` and ends with ``<!-- end -->``; it
holds what ``python -m bench.compare FILE --markdown`` prints, or of its first table the columns that
a phone has room for.
"""

import contextlib
import io
import re
from pathlib import Path

from bench import compare

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs/results").glob("*.md")))
BRIEF = ("system", "WER %", "95 %", "seeds")
BLOCK = re.compile(r"<!-- (sweeps/results/[^\s,]+)(, systems)? -->\n(.*?)\n<!-- end -->", re.DOTALL)


def printed(path: str, *, only_systems: bool) -> str:
    """What the command prints for a saved comparison."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        compare.main(compare.build_parser().parse_args([str(ROOT / path), "--markdown"]))
    text = out.getvalue().strip()
    return _narrow(text.split("\n\n")[0]) if only_systems else text


def _narrow(table: str) -> str:
    """`table` with the columns BRIEF."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    kept = [rows[0].index(name) for name in BRIEF]
    return "\n".join("| " + " | ".join(row[place] for place in kept) + " |" for row in rows)


def rewritten(text: str) -> str:
    """`text` with every block as the command prints it now."""

    def block(match: re.Match[str]) -> str:
        table = printed(match[1], only_systems=bool(match[2]))
        return f"<!-- {match[1]}{match[2] or ''} -->\n{table}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewritten(page.read_text("utf-8")), "utf-8")
