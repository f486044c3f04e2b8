"""The layers of docs/design.md, read off the imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = (
    "stats",  # imports nothing of ours
    "core",
    "data",
    "decoding",
    "scoring",
    "training",
    "runs",
    "costs",
    "study",
    "queue",
    "workers",
    "results",
)
ONLY_IN = {
    "mlflow": "bench/runs/mlflow",
    "matplotlib": "bench/runs/mlflow",
    "optuna": ("bench/study", "bench/queue", "bench/workers"),
    "ray": "bench/workers",
    "datasets": "bench/data/corpora",
    "lhotse": "bench/data/corpora",
    "triton": "variants/ops",
    "plotly": "reports",
    "jinja2": ("reports", "bench/deploy.py"),
}
REPORTS_MAY_IMPORT = {"pandas", "numpy", "PIL", "plotly", "jinja2", "markupsafe", "reports"}
VARIANTS_MAY_IMPORT = {"torch", "triton", "variants"}


def source_files() -> list[Path]:
    return [p for folder in ("bench", "variants", "reports") for p in (ROOT / folder).rglob("*.py")]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(path: Path) -> int:
    parts = path.relative_to(ROOT / "bench").parts
    return LAYERS.index(parts[0]) if parts[0] in LAYERS else len(LAYERS)


@pytest.mark.parametrize("path", source_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    top, inside = path.relative_to(ROOT).parts[0], str(path.relative_to(ROOT))
    for name in imports(path):
        package = name.split(".")[0]
        if package in ONLY_IN:
            assert inside.startswith(ONLY_IN[package]), f"{inside} imports {name}"
        if top == "bench" and package == "bench" and len(name.split(".")) > 1:
            part = name.split(".")[1]
            if part in LAYERS:
                assert LAYERS.index(part) <= layer(path), f"{inside} imports {name}"
            elif layer(path) < len(LAYERS):
                pytest.fail(f"{inside}, a library, imports the command {name}")
        standard = package in __import__("sys").stdlib_module_names
        if top == "reports":
            assert standard or package in REPORTS_MAY_IMPORT, f"{inside} imports {name}"
        if top == "variants":
            assert standard or package in VARIANTS_MAY_IMPORT, f"{inside} imports {name}"


def test_sweeps_hold_no_python() -> None:
    assert not list((ROOT / "sweeps").rglob("*.py"))


def test_no_variant_is_named_outside_variants_and_sweeps() -> None:
    from variants import VARIANTS

    for path in (ROOT / "bench").rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)} & set(VARIANTS)
        assert not names, f"{path} names {names}"


def test_commands_name_their_loggers() -> None:
    """Run with -m a command's __name__ is "__main__", whose log lines nobody hears."""
    for path in (ROOT / "bench").glob("*.py"):
        assert "getLogger(__name__)" not in path.read_text(), path


def test_the_wall_clock_is_read_in_one_place() -> None:
    """It may jump: a duration comes from a monotonic clock."""
    reads = re.compile(r"time\.time(_ns)?\b|datetime\.now|utcnow|date\.today|localtime|gmtime")
    found = [path.relative_to(ROOT) for path in source_files() if reads.search(path.read_text())]
    assert found == [Path("bench/runs/record.py")]


def test_no_command_opens_a_server_to_the_network() -> None:
    texts = [*source_files(), *(ROOT / "reports").rglob("*.html"), ROOT / "README.md"]
    for path in texts:
        assert not re.search(r"0\.0\.0\.0|--host(?!name)[ =](?!127\.0\.0\.1)", path.read_text()), (
            path
        )


def test_an_import_changes_no_environment() -> None:
    """Who uses this as a library did not ask for it, and nobody would look for it there."""
    for path in source_files():
        todo: list[ast.AST] = [ast.parse(path.read_text())]
        while todo:
            node = todo.pop()
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            changes = isinstance(node, ast.Attribute) and node.attr in ("environ", "putenv")
            assert not changes, f"{path}:{getattr(node, 'lineno', 0)}"
            todo += [] if inside else ast.iter_child_nodes(node)
