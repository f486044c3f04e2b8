"""The image for many machines: it installs what it copies, and runs as nobody special."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from bench import deploy

ROOT = Path(__file__).resolve().parents[1]


def test_the_image_holds_the_checkout_that_it_installs(capsys: pytest.CaptureFixture[str]) -> None:
    deploy.main(deploy.build_parser().parse_args(["dockerfile"]))
    lines = capsys.readouterr().out.replace("\\\n", " ").splitlines()
    copied = {source for line in lines if line.startswith("COPY") for source in line.split()[1:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    needed = {"pyproject.toml", "README.md", "LICENSE", *(p.rstrip("*") for p in packages)}
    assert copied == needed
    assert all((ROOT / source).exists() for source in copied)
    (install,) = (line for line in lines if line.startswith("RUN pip"))
    extras = re.search(r"\[(.*)\]", install)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(project["project"]["optional-dependencies"])
    user, entry = (
        next(line for line in lines if line.startswith(w)) for w in ("USER", "ENTRYPOINT")
    )
    assert user.split()[1].split(":")[0] == "1000", (
        "by number: Kubernetes can see that it is not root"
    )
    assert json.loads(entry.removeprefix("ENTRYPOINT ")) == ["tini", "--"]


def test_templates_are_installed_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["bench"]
    packaged = {path for pattern in patterns for path in (ROOT / "bench").glob(pattern)}
    found = {path.name for path in packaged if path.parent.name == "deployment"}
    assert set(deploy.TEMPLATES.values()) == found
