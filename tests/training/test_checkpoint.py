import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import UserError
from bench.data.features import CorpusStats
from bench.data.text import ALPHABET
from bench.data.units import LETTERS, Units
from bench.training import checkpoint
from bench.training.config import RunConfig, build_model

CPU = torch.device("cpu")
Configure = Callable[..., RunConfig]


@pytest.fixture
def config(tiny: Configure) -> RunConfig:
    return tiny(seed=3)


@pytest.fixture
def path(tmp_path: Path, config: RunConfig) -> Path:
    path = tmp_path / "checkpoints" / "best.pt"
    checkpoint.save(path, config, build_model(config), None, LETTERS)
    return path


def rewrite(path: Path, **changes: Any) -> None:
    torch.save(torch.load(path, weights_only=True) | changes, path)


def test_gives_back_the_network_and_its_config(path: Path, config: RunConfig) -> None:
    trained = checkpoint.load_model(path, CPU)
    model, read = trained.network, trained.config
    assert read == config
    assert not model.training
    saved = build_model(config).state_dict()
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())


def test_keeps_what_corpus_normalisation_needs(tmp_path: Path, config: RunConfig) -> None:
    stats = CorpusStats(mean=(0.5, -1.0), std=(1.0, 2.0))
    for kept in (stats, None):
        checkpoint.save(tmp_path / "a.pt", config, build_model(config), kept, LETTERS)
        assert checkpoint.load_model(tmp_path / "a.pt", CPU).stats == kept


def test_a_checkpoint_may_lie_at_the_root_of_a_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = checkpoint.load(path, CPU)
    monkeypatch.setattr(checkpoint, "load", lambda path, device: content)
    assert checkpoint.load_model(Path("/best.pt"), CPU).units == LETTERS


def test_keeps_what_the_symbols_stand_for(path: Path, tiny: Configure) -> None:
    assert checkpoint.load_model(path, CPU).units == LETTERS
    config = tiny(**{"units.num_pieces": 30})
    pieces = Units((" a", "bc", *ALPHABET))
    checkpoint.save(path, config, build_model(config), None, pieces)
    assert checkpoint.load_model(path, CPU).units == pieces
    for wrong in (None, 3, ["a"], [*ALPHABET, "a"]):
        rewrite(path, units=wrong)
        with pytest.raises(checkpoint.DamagedCheckpointError):
            checkpoint.load_model(path, CPU)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_the_old_file_stays_until_the_new_one_is_whole(
    path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """A process that dies anywhere in `save` leaves the old bytes; a full disk is a line."""
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, full)
    with pytest.raises(UserError, match=r"best\.pt cannot be written \(No space left on device\)"):
        checkpoint.save(path, config, build_model(config), None, LETTERS)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["best.pt"]


class Payload:
    """What a planted pickle does when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("harm-was-done"),)  # type: ignore[return-value]


@pytest.mark.parametrize("planted", ["in a checkpoint", "alone"])
def test_code_is_refused_and_not_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if planted == "alone":
        path.write_bytes(pickle.dumps(Payload()))
    else:
        torch.save(torch.load(path, weights_only=True) | {"stats": Payload()}, path)
    with pytest.raises(UserError, match=r"best\.pt is damaged, no checkpoint, or holds code"):
        checkpoint.load_model(path, CPU)
    assert not Path("harm-was-done").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "half"])
def test_damaged_files_are_refused(path: Path, content: bytes | str) -> None:
    whole = path.read_bytes()
    path.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged, no checkpoint, or holds code"):
        checkpoint.load(path, CPU)


def test_missing_foreign_and_outdated_files_are_refused(path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoint.load(path.with_name("other.pt"), CPU)
    rewrite(path, version=0)
    with pytest.raises(UserError, match="has checkpoint layout 0, this version reads 2"):
        checkpoint.load(path, CPU)
    rewrite(path, version=2, text="0000")
    with pytest.raises(UserError, match=r"another alphabet or text normalisation \(0000, here"):
        checkpoint.load(path, CPU)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="is not a checkpoint of this project"):
        checkpoint.load(path, CPU)


def test_weights_must_fit_the_config(path: Path, tiny: Configure) -> None:
    checkpoint.save(path, tiny(**{"model.width": 25}), build_model(tiny()), None, LETTERS)
    with pytest.raises(UserError, match="do not fit variant ds-gru"):
        checkpoint.load_model(path, CPU)


def test_only_a_last_checkpoint_is_gone_on_from(path: Path, config: RunConfig) -> None:
    with pytest.raises(UserError, match="is not the last checkpoint of a run"):
        checkpoint.check_same_run(path, checkpoint.load(path, CPU), config, "data")
