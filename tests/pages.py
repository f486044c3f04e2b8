"""The tables of results in README.md and docs/results: `python -m tests.pages` writes them anew.

A block begins with ``<!-- FILE -->`` or ``<!-- FILE, systems -->`` and ends with ``<!-- end -->``; it
holds what ``python -m bench.compare FILE --markdown`` prints, or the first table of that.
"""

import contextlib
import io
import re
from pathlib import Path

from bench import compare

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs/results").glob("*.md")))
BLOCK = re.compile(r"<!-- (sweeps/results/[^\s,]+)(, systems)? -->\n(.*?)\n<!-- end -->", re.DOTALL)


def printed(path: str, *, only_systems: bool) -> str:
    """What the command prints for a saved comparison."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        compare.main(compare.build_parser().parse_args([str(ROOT / path), "--markdown"]))
    text = out.getvalue().strip()
    return text.split("\n\n")[0] if only_systems else text


def rewritten(text: str) -> str:
    """`text` with every block as the command prints it now."""

    def block(match: re.Match[str]) -> str:
        table = printed(match[1], only_systems=bool(match[2]))
        return f"<!-- {match[1]}{match[2] or ''} -->\n{table}\n<!-- end -->"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewritten(page.read_text("utf-8")), "utf-8")
