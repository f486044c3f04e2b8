"""The shape of the source: `python -m tests.shape` prints the table that docs/design.md shows.

Lines of a file and of a function include docstrings. A comment line holds a comment, alone or
behind code; its share is of all lines that are not blank.
"""

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("bench", "variants", "reports")
SHORT_LINES = 45


def measure(root: Path) -> dict[str, str]:
    """The figures of the Python files below `root`, ready to print."""
    texts = [
        path.read_text("utf-8") for folder in FOLDERS for path in (root / folder).rglob("*.py")
    ]
    files = sorted(len(text.splitlines()) for text in texts)
    functions = sorted(lines for text in texts for lines in _function_lines(text))
    written = sum(1 for text in texts for line in text.splitlines() if line.strip())
    comments = sum(_num_comment_lines(text) for text in texts)
    return {
        "source lines": f"{sum(files):,}",
        "files": str(len(files)),
        "lines of a file, median and p90": f"{statistics.median(files):.0f}, {_p90(files)}",
        "lines of a function, p90 and maximum": f"{_p90(functions)}, {functions[-1]}",
        f"modules under {SHORT_LINES} lines": str(sum(0 < lines < SHORT_LINES for lines in files)),
        "annotations with Any": str(sum(_num_any(text) for text in texts)),
        "lines with a comment": f"{100 * comments / written:.1f} %",
    }


def _function_lines(text: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.end_lineno - node.lineno + 1


def _num_any(text: str) -> int:
    return sum(
        isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(ast.parse(text))
    )


def _num_comment_lines(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})


def _p90(sorted_values: list[int]) -> int:
    return sorted_values[int(0.9 * (len(sorted_values) - 1))]


if __name__ == "__main__":
    for name, value in measure(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        print(f"{name}: {value}")
