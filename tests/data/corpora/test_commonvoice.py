from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CORPORA, CorpusConfig, load_corpus
from bench.data.corpora.spec import Listing

HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\n"
TABLES = {
    "train": 'anna\ttrain_1.mp3\t"Red," we said.\t2\t0\ttwenties\tfemale\t\n',
    "dev": "bert\tdev_1\tAnd under the red.\t2\t0\t\t\tScottish English, Wales\n",
    "test": "cora\ttest_1.mp3\tBoat under a.\t2\t1\t\t\t\n",
    "validated": "anna\ttrain_1.mp3\tRed we said.\t2\t0\t\t\t\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cv-corpus" / "en"
    folder.mkdir(parents=True)
    for name, row in TABLES.items():
        (folder / f"{name}.tsv").write_text(HEADER + row)
    return folder


def listed(path: Path, name: str = "commonvoice") -> Listing:
    return CORPORA[name].listing(CorpusConfig.parse(f"{name}:{path}"))


@pytest.mark.parametrize("place", [".", "..", "manifest"])
def test_tables_of_a_release(place: str, root: Path) -> None:
    (root / "clips").mkdir()
    listing = listed(root, "manifest") if place == "manifest" else listed(root / place)
    rows = listing.rows
    assert [(r.id, r.split, r.speaker, r.text) for r in rows] == [
        ("train_1", "train", "anna", '"Red," we said.'),
        ("dev_1", "valid", "bert", "And under the red."),
        ("test_1", "test", "cora", "Boat under a."),
    ]
    assert [row.audio.name for row in rows] == ["train_1.mp3", "dev_1.mp3", "test_1.mp3"]
    assert all(row.audio.parent.name == "clips" for row in rows)
    assert rows[0].attributes == {
        "up_votes": "2", "down_votes": "0", "age": "twenties", "gender": "female",
    }  # fmt: skip
    assert rows[1].attributes["accents"] == "Scottish English, Wales"
    assert all(row.claimed_seconds is None for row in rows)


def test_a_corpus_is_loaded(root: Path, record: Callable[..., Path]) -> None:
    for name in ("train", "dev", "test"):
        record(root / "clips" / f"{name}_1.wav")
        table = (root / f"{name}.tsv").read_text()
        table = table.replace("_1.mp3", "_1.wav").replace("_1\t", "_1.wav\t").replace('"', "")
        (root / f"{name}.tsv").write_text(table)
    corpus = load_corpus(CorpusConfig(name="commonvoice", path=str(root)))
    assert [(u.id, u.text) for u in corpus.utterances] == [
        ("train_1", "red we said"), ("dev_1", "and under the red"), ("test_1", "boat under a"),
    ]  # fmt: skip


def test_lengths_are_claimed_where_they_were_counted(root: Path) -> None:
    (root / "clip_durations.tsv").write_text("clip\tduration[ms]\ntrain_1.mp3\t4500\nx.mp3\t7\n")
    assert [row.claimed_seconds for row in listed(root).rows] == [4.5, None, None]
    (root / "clip_durations.tsv").write_text("clip\tduration[ms]\ntrain_1.mp3\t4.5 s\n")
    with pytest.raises(UserError, match=r"clip_durations\.tsv:2: a row has 'clip' and 'duration"):
        listed(root)


def test_one_table_alone(root: Path) -> None:
    assert [row.split for row in listed(root / "test.tsv").rows] == ["test"]


def test_other_folders_are_distinguished(root: Path) -> None:
    (root.parent / "cy").mkdir()
    with pytest.raises(
        UserError, match=r"no train\.tsv, dev\.tsv or .* holds cy/, en/; give the fol"
    ):
        listed(root.parent)
    with pytest.raises(UserError, match="needs its path; write --corpus commonvoice:PATH"):
        CORPORA["commonvoice"].listing(CorpusConfig(name="commonvoice"))
