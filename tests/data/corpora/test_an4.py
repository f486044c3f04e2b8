import io
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.data.corpora import CorpusConfig, load_corpus
from bench.data.utterance import Corpus

SHARED = Path(__file__).parents[4] / "shared" / "corpora" / "an4_train.tar"


def write_part(root: Path, part: str, speakers: list[str], record: Callable[..., Path]) -> None:
    names = [f"an{i}-{speaker}-b" for speaker in speakers for i in (1, 2)]
    (root / "etc").mkdir(parents=True, exist_ok=True)
    for name in names:
        record(root / "flac" / f"{name}.flac")
    ids = [f"an4_clstk/{name.split('-')[1]}/{name}" for name in names]
    (root / "etc" / f"an4_{part}.fileids").write_text("\n".join(ids) + "\n")
    lines = [
        f"<s> GO {name[2]} </s> ({name})".replace("1", "A").replace("2", "B") for name in names
    ]
    lines = [line.split("(")[0] + f"({name})" for line, name in zip(lines, names, strict=True)]
    lines[0] = f"YES ({names[0]})"  # as in the official test part: without the marks
    (root / "etc" / f"an4_{part}.transcription").write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(record: Callable[..., Path], tmp_path: Path) -> Path:
    write_part(tmp_path / "an4", "train", [f"spk{c}" for c in "abcdefg"], record)
    return tmp_path / "an4"


def load(path: Path | None = None, name: str = "an4") -> Corpus:
    return load_corpus(CorpusConfig(name=name, path=str(path) if path else None))


def test_training_part_alone_is_split_by_speaker(root: Path) -> None:
    corpus = load(root)
    speakers = {s: {u.speaker for u in corpus.split(s)} for s in ("train", "valid", "test")}
    assert {split: len(names) for split, names in speakers.items()} == {
        "train": 5, "valid": 1, "test": 1,
    }  # fmt: skip
    assert len(set.union(*speakers.values())) == 7
    assert "official test part of AN4 is absent: test is 1 held-out" in corpus.notes[0]
    texts = {u.id: u.text for u in corpus.utterances}
    assert (texts["an1-spka-b"], texts["an2-spka-b"]) == ("yes", "go b")


def test_listed_dev_speakers_are_the_valid_split(root: Path) -> None:
    (root / "dev_speakers.txt").write_text("spkb\nspkc\n")
    assert {u.speaker for u in load(root).split("valid")} == {"spkb", "spkc"}


def test_official_test_part_is_used_where_it_is(root: Path, record: Callable[..., Path]) -> None:
    write_part(root, "test", ["spkx"], record)
    corpus = load(root)
    assert {u.speaker for u in corpus.split("test")} == {"spkx"}
    assert len(corpus.split("train")) == 12
    assert corpus.notes == ()


def test_for_tuning_no_training_speaker_is_held_out_for_test(
    root: Path, record: Callable[..., Path]
) -> None:
    write_part(root, "test", ["spkx"], record)
    corpus = load(root, "an4-dev")
    assert Counter(u.split for u in corpus.utterances) == {"train": 12, "valid": 2}
    assert {u.speaker for u in corpus.split("valid")} == {
        u.speaker for u in load(root).split("valid")
    }


def test_whole_every_training_speaker_is_trained_on(root: Path) -> None:
    corpus = load(root, "an4-all")
    assert Counter(u.split for u in corpus.utterances) == {"train": 14}


def test_places_are_looked_through_and_archives_unpacked_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with tarfile.open(place / "an4_train.tar.gz", "w:gz") as archive:
        archive.add(root, arcname="an4")
    monkeypatch.setenv("BENCH_CORPORA", f"{tmp_path / 'nothing'}:{place}")
    first = load()
    assert len(first.utterances) == 14
    written = first.utterances[0].audio.stat().st_mtime_ns
    assert load() == first
    assert first.utterances[0].audio.stat().st_mtime_ns == written
    monkeypatch.setenv("BENCH_CORPORA", str(tmp_path))
    assert load().utterances[0].audio.is_relative_to(root)
    monkeypatch.setenv("BENCH_CORPORA", str(tmp_path / "nothing"))
    with pytest.raises(UserError, match=r"no an4 .* in .*nothing; write --corpus an4:PATH or set"):
        load()


def test_bad_archives_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "an4.tar"
    broken.write_bytes(b"no archive at all")
    with pytest.raises(UserError, match=r"an4\.tar cannot be unpacked .*; fetch it again"):
        load(broken)
    with tarfile.open(broken, "w:gz") as archive:
        archive.add(Path(__file__), arcname="an4/long.py")
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(UserError, match=r"an4\.tar cannot be unpacked .*; fetch it again"):
        load(broken)
    with tarfile.open(broken, "w") as archive:
        member = tarfile.TarInfo("../escaped.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(UserError, match=r"an4\.tar cannot be unpacked .*outside"):
        load(broken)
    with tarfile.open(broken, "w") as archive:
        archive.addfile(tarfile.TarInfo("an4/README.txt"))
    with pytest.raises(UserError, match=r"no etc/an4_train\.transcription in .*an4\.tar"):
        load(broken)


def test_unknown_archives_unpack_to_regular_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "an4.tar"
    with tarfile.open(planted, "w") as archive:
        link = tarfile.TarInfo("an4/etc")
        link.type, link.linkname = tarfile.SYMTYPE, "wav"
        archive.addfile(link)
    with pytest.raises(UserError, match=r"an4\.tar cannot be unpacked \('an4/etc' is no file and"):
        load(planted)
    with tarfile.open(planted, "w:gz") as archive:
        member = tarfile.TarInfo("an4/zeros.raw")
        member.size = 300_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    assert planted.stat().st_size < 1000
    monkeypatch.setattr("bench.data.corpora.folders.MAX_UNPACKED_BYTES", 200_000)
    with pytest.raises(UserError, match=r"an4\.tar cannot be unpacked .*more than 200,000 bytes"):
        load(planted)


def test_faults_of_the_lists_are_named(root: Path) -> None:
    transcripts = root / "etc" / "an4_train.transcription"
    lines = transcripts.read_text().splitlines()
    transcripts.write_text("\n".join(["<s> NO ID </s>", *lines[1:]]))
    with pytest.raises(UserError, match=r"an4_train\.transcription:1: a line reads .*'<s> NO ID"):
        load(root)
    transcripts.write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"lists 'an1-spka-b', but .* has no line for it"):
        load(root)
    transcripts.write_text("\n".join([*lines, "<s> GO C </s> (an3-spka-b)"]))
    with pytest.raises(UserError, match=r"has a line for 'an3-spka-b', which .* does not list"):
        load(root)
    transcripts.write_text("\n".join([*lines, "<s> STOP </s> (an2-spka-b)"]))
    with pytest.raises(UserError, match=r"transcription:15: 'an2-spka-b' has a line already"):
        load(root)
    transcripts.write_text("\n".join(lines))
    (root / "flac" / "an2-spkd-b.flac").unlink()
    with pytest.raises(UserError, match="'an2-spkd-b' has no flac, wav, sph or raw under"):
        load(root)
    (root / "etc" / "an4_train.fileids").unlink()
    with pytest.raises(UserError, match=r"an4_train\.fileids, which does not exist"):
        load(root)


@pytest.mark.skipif(not SHARED.is_file(), reason=f"the AN4 recordings are not at {SHARED}")
def test_the_real_training_part() -> None:
    corpus = load(SHARED)
    assert len(corpus.utterances) == 948
    assert corpus.left_out == ()
    assert Counter(u.split for u in corpus.utterances) == {"train": 705, "valid": 115, "test": 128}
    speakers = {s: {u.speaker for u in corpus.split(s)} for s in ("train", "valid", "test")}
    assert {split: len(names) for split, names in speakers.items()} == {
        "train": 55, "valid": 9, "test": 10,
    }  # fmt: skip
    assert not any("speaker" in shared or "audio" in shared for shared in corpus.leakage)
    assert sum(u.seconds for u in corpus.utterances) / 3600 == pytest.approx(0.7073, abs=1e-4)
    tuning = load(SHARED, "an4-dev")
    assert Counter(u.split for u in tuning.utterances) == {"train": 833, "valid": 115}
