"""README and docs: size, links, commands; `mkdocs build --strict` checks the site itself."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
VERB = re.compile(r"python -m bench\.(\w+)(.*)")


def commands() -> list[tuple[str, str, str]]:
    """(page, verb, arguments) of every command of ours in a block of shell."""
    return [
        (str(page.relative_to(ROOT)), match[1], match[2])
        for page in PAGES
        for block in BLOCK.findall(page.read_text("utf-8"))
        for line in block.splitlines()
        if (match := VERB.search(line))
    ]


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_within_the_tree_are_alive(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), flags=re.MULTILINE)
            assert anchor in {_slug(heading) for heading in headings}, f"{page.name}: {target}"


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize(("page", "verb", "arguments"), commands(), ids=lambda x: str(x)[:60])
def test_commands_are_understood(page: str, verb: str, arguments: str) -> None:
    """Each command's flags are parsed by its own parser; running it is what other tests do."""
    given = re.split(r"\s[#>]\s", f" {arguments} ")[0].strip()
    parser = import_module(f"bench.{verb}").build_parser()
    parser.parse_args(shlex.split(given.replace("…", "x")))


def test_the_journeys_name_functions_that_exist_and_count_their_modules() -> None:
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    journeys = re.findall(r"^\*\*.*?\*\*: (\d+) modules, (\d+) returns.*?```\n(.*?)```", design, re.DOTALL | re.MULTILINE)  # fmt: skip
    assert len(journeys) == 3
    for num_modules, num_returns, lines in journeys:
        entered: list[str] = []
        for line in lines.splitlines():
            module, names = re.split(r"\s{2,}", line)[:2]
            path = ROOT / Path(*module.split("."))
            file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"  # fmt: skip
            for name in names.split(", "):
                defined = rf"^\s*(def|class) {name.rpartition('.')[2]}\b"
                assert re.search(defined, file.read_text("utf-8"), re.MULTILINE), (
                    f"{module}: {name}"
                )
            entered += [module] if entered[-1:] != [module] else []
        returns = len(entered) - len(set(entered))
        assert (len(set(entered)), returns) == (int(num_modules), int(num_returns)), lines
