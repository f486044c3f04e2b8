"""Variants from a file of the user or an installed package: loaded, recorded, refused in one line."""

import json
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from bench.core import plugins
from bench.core.config import from_dict, to_dict
from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig
from bench.data.units import LETTERS
from bench.study.definition import StudyDefinition, begin_or_return, define, load
from bench.study.space import load_budget
from bench.training import checkpoint, outside
from bench.training.config import build_model, default_run_config
from bench.training.outside import OUTSIDE, VARIANT_RECORD, find_recorded, find_variant, record
from variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "your-own-variant.md").read_text()
SOURCE = PAGE.split("```python\n")[1].split("```")[0]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What a test loads is gone after it."""
    yield
    forget()


def forget() -> None:
    for key in list(OUTSIDE):
        del VARIANTS[key], OUTSIDE[key]


def write(path: Path, text: str = SOURCE) -> Path:
    path.write_text(text)
    return path


def study_of(variant: str) -> StudyDefinition:
    return define(
        [variant, "ds-rnn"], CorpusConfig(), load_budget("smoke"), seed=0, device="cpu", settings={}, name="own"
    )  # fmt: skip


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    key = find_variant(f"{path}:residual")
    assert key.startswith("residual@")
    assert find_variant("mine.py:residual", tmp_path) == key
    assert find_variant(f"{write(tmp_path / 'copy.py')}:residual") == key
    write(path, SOURCE.replace("width: int = 64", "width: int = 32"))
    other = find_variant(f"{path}:residual")
    assert other != key
    widths = [default_run_config(of, CorpusConfig()).model.width for of in (key, other)]
    assert widths == [64, 32]  # both stay in use


@pytest.mark.parametrize(
    "old, new, name, said",
    [
        ("", "", "other", "declares no variant 'other'; known: residual"),
        ('"""Residual convolutions over', 'raise RuntimeError("boom")\n"""Residual convolutions over', "residual", "RuntimeError at line 1: boom"),
        ("@dataclass(frozen=True, ", "def (", "residual", "SyntaxError at line "),
        ("(frozen=True, kw_only=True)", "(kw_only=True)", "residual", "must be an instance of a frozen dataclass"),
        ("ResidualConfig(),", "ResidualConfig(width=0),", "residual", "width must be at least 1, got 0"),
        ('name="residual"', 'name="ds-gru"', "ds-gru", "the name of a registered variant"),
        ('name="residual"', 'name="a/b"', "a/b", "only letters, digits"),
        ("SPECS = (", "SPEC = (", "residual", "must declare its variants as SPECS"),
        ("    VariantSpec(", "    dict(", "residual", "must hold variants.spec.VariantSpec, got dict"),
        ('    """Residual convolutions."""\n', "    extra: object = object()\n", "residual", "must hold plain values"),
        ("import torch\n", "import torch\nraise SystemExit(3)\n", "residual", "SystemExit at line"),
        ("import torch\n", "import no_such_neighbour\n", "residual", "a file stands alone"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, name: str, said: str
) -> None:
    path = write(tmp_path / "bad.py", SOURCE.replace(old, new))
    with pytest.raises(UserError) as caught:
        find_variant(f"{path}:{name}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not OUTSIDE


def test_names_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    with pytest.raises(UserError, match=r"named FILE.py:NAME, got .*mine.py; it declares residual"):
        find_variant(str(path))
    with pytest.raises(
        UserError, match=r"must be readable, .*none.py: No such file .*; correct the path"
    ):
        find_variant(f"{tmp_path}/none.py:residual")
    with pytest.raises(UserError, match="did you mean ds-gru"):
        find_variant("ds-gr")
    assert find_variant("ds") == "ds-gru"


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('check_range(self, "width", "num_layers", at_least=1)', "pass", r"weight \S+ is empty.*width at least 1"),
        ("nn.Linear(width, num_symbols)", "nn.Linear(width, num_symbol)", r"NameError at line \d+: name 'num_symbol'"),
        ("(AcousticModel)", "(nn.Module)", "must build a variants.spec.AcousticModel, got Residual"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_built_is_an_error_with_the_reason(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = SOURCE.replace(old, new).replace(
        "width: int = 64", f"width: int = {0 if new == 'pass' else 64}"
    )
    key = find_variant(f"{write(tmp_path / 'mine.py', text)}:residual")
    with pytest.raises(UserError, match=said):
        build_model(default_run_config(key, CorpusConfig()))


def test_a_study_is_loaded_from_what_it_recorded(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    write(tmp_path / "residual.toml", '[fixed]\n"model.width" = 48\n')
    definition = study_of(f"{path}:residual")
    assert list(definition.systems) == ["residual", "ds-rnn"]
    key = definition.systems["residual"].variant
    assert definition.base_config("residual").model.width == 48
    assert "model.dropout" not in definition.searched("residual")  # its network has none
    assert "model.dropout" in definition.searched("ds-rnn")
    folder = tmp_path / "study"
    begin_or_return(folder, definition)
    path.unlink()
    (tmp_path / "residual.toml").unlink()
    forget()
    assert load(folder) == definition
    # Redone from the record, the definition is the same: nothing is mixed, nothing is refused.
    forget()
    again = study_of(f"{folder}/variants/{key}.py:residual")
    begin_or_return(folder, again)
    write(path, SOURCE + "\n# changed\n")
    with pytest.raises(UserError, match=rf"systems.residual.variant was '{key}', is 'residual@"):
        begin_or_return(folder, study_of(f"{path}:residual"))
    assert {file.stem for file in (folder / "variants").iterdir()} == {key, "residual"}


def test_a_record_that_was_changed_or_lost_is_refused(tmp_path: Path) -> None:
    key = find_variant(f"{write(tmp_path / 'mine.py')}:residual")
    record(OUTSIDE[key], tmp_path)
    forget()
    write(tmp_path / f"{key}.py", SOURCE + "#")
    with pytest.raises(UserError, match=r"residual@\w+.py was changed after it was recorded"):
        find_recorded(key, [tmp_path])
    (tmp_path / f"{key}.json").write_text("torn")
    with pytest.raises(UserError, match=r"is damaged .*put it back"):
        find_recorded(key, [tmp_path])
    (tmp_path / f"{key}.json").unlink()
    with pytest.raises(UserError, match=r"must be recorded as residual@\w+.py and .json in "):
        find_recorded(key, [tmp_path])
    find_recorded("ds-gru", [])  # ours need no record


def test_a_checkpoint_finds_its_variant_in_the_run_or_beside_it(tmp_path: Path) -> None:
    key = find_variant(f"{write(tmp_path / 'mine.py')}:residual")
    config = default_run_config(key, CorpusConfig())
    model, run = build_model(config), tmp_path / "run"
    best = run / "checkpoints" / "best.pt"
    checkpoint.save(best, config, model, None, LETTERS)
    record(OUTSIDE[key], run, VARIANT_RECORD)
    beside = tmp_path / "model" / "deep" / "best.pt"
    checkpoint.save(beside, config, model, None, LETTERS)
    record(OUTSIDE[key], beside.parent, VARIANT_RECORD)
    for path in (best, beside):
        forget()
        trained = checkpoint.load_model(path, torch.device("cpu"))
        loaded, found = trained.network, trained.config
        assert to_dict(found) == to_dict(config)
        weights = zip(loaded.parameters(), model.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in weights)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules with the entry point `residual`."""
    folder = tmp_path / "site" / "own_package"
    folder.mkdir(parents=True)
    write(folder / "__init__.py", "")
    write(folder / "sizes.py", "WIDTH = 24\n")
    text = SOURCE.replace("width: int = 64", "width: int = WIDTH")
    text = text.replace("import torch\n", "import torch\nfrom own_package.sizes import WIDTH\n")
    write(folder / "networks.py", text + "RESIDUAL = SPECS[0]\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    entry = EntryPoint("residual", "own_package.networks:RESIDUAL", plugins.VARIANTS_GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def test_a_package_is_found_by_name_and_known_by_all_its_code(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = find_variant("residual")
    assert default_run_config(key, CorpusConfig()).model.width == 24
    definition, folder = study_of("residual"), tmp_path / "study"
    begin_or_return(folder, definition)
    facts = json.loads((folder / "variants" / f"{key}.json").read_text())
    assert facts["entry"] == "own_package.networks:RESIDUAL"
    forget()
    assert load(folder).systems["residual"].variant == key
    forget()
    (package / "sizes.py").write_text("WIDTH = 25\n")
    with pytest.raises(UserError, match="with other code; install that version"):
        load(folder)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    with pytest.raises(UserError, match="as it was, got none; install that version"):
        load(folder)


def test_two_packages_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("x", f"{module}:X", plugins.VARIANTS_GROUP) for module in "ab"]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    with pytest.raises(UserError, match="both declare 'x'"):
        plugins.installed_variants()


def test_the_record_holds_the_origin_of_a_variant(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py")
    key = find_variant(f"{path}:residual")
    record(OUTSIDE[key], tmp_path / "run", VARIANT_RECORD)
    facts = json.loads((tmp_path / "run" / "variant.json").read_text())
    assert facts == {
        "name": "residual",
        "path": str(path),
        "package": "",
        "entry": "",
        "digest": key[-8:],
    }
    text = (tmp_path / "run" / "variant.py").read_text()
    assert from_dict(outside.VariantSource, {**facts, "text": text}) == OUTSIDE[key]
