import gzip
import json
from pathlib import Path

import pytest

from bench.core.errors import UserError
from bench.core.tables import read_table, table_suffix


def rows(path: Path, text: str) -> list[dict]:
    path.write_text(text, encoding="utf-8", newline="")
    return [dict(fields) for _, fields in read_table(path, "manifest")]


ROWS = [{"a": "x, y", "b": 'say "hi"'}, {"a": "é", "b": ""}]
AS_CSV = 'a,b\n"x, y","say ""hi"""\né,\n'
AS_TSV = 'a\tb\nx, y\tsay "hi"\né\t\n'
AS_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", AS_CSV),
        ("t.tsv", AS_TSV),
        ("t.jsonl", AS_LINES),
        ("t.ndjson", AS_LINES.rstrip()),
        ("t.json", AS_LINES),
        ("t.txt", AS_LINES),
        ("t.json", json.dumps(ROWS, indent=2)),
        ("t.json", "\n " + json.dumps(ROWS)),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_gives_the_same_rows(name: str, text: str, end: str, tmp_path: Path) -> None:
    text = text.replace("\n", end)
    assert rows(tmp_path / name, text) == ROWS
    assert rows(tmp_path / name, "\ufeff" + text + end) == ROWS
    packed = tmp_path / f"{name}.GZ"
    packed.write_bytes(gzip.compress(text.encode()))
    assert [dict(fields) for _, fields in read_table(packed, "manifest")] == ROWS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "t.csv",
            "a,b\n1,2\n1,2, 3\n",
            r"t\.csv:3: .* header, 2, but .* 3: surplus cell '3'; quote",
        ),
        (
            "t.tsv",
            "a\tb\n1\t2\t\n",
            r"t\.tsv:2: .* header, 2, but .* 3: surplus cell ''; remove it",
        ),
        (
            "t.csv",
            "a,b,c\n1,2\n",
            r"t\.csv:2: .* header, 3, but this one has 2: no cell for 'c'; add",
        ),
        ("t.tsv", "a\tb\n1\n", r"t\.tsv:2: .* no cell for 'b'"),
        (
            "t.csv",
            'a,b\n1,"2\n3,4"\n',
            r"t\.csv:2: a quoted cell .* ends in its own line.* got '1,\"2'",
        ),
        ("t.csv", 'a,b\n1,"2\n3,4\n', r"t\.csv:2: a quoted cell"),
        ("t.csv", 'a,b\n1,"2" 3\n', r"t\.csv:2: a quoted cell"),
        ("t.csv", 'a,b\n1, "2"\n', r"t\.csv:2: a quote after a blank does not quote"),
        ("t.csv", "a,b\n1," + "x" * 200_000, r"t\.csv:2: .*field larger than field limit"),
        (
            "t.csv",
            "a,b,\n1,2, 3\n",
            r"t\.csv:2: cell '3' is in a column that the header does not name",
        ),
        (
            "t.csv",
            ",a,b\nx,1,2\n",
            r"t\.csv:2: cell 'x' is in a column that the header does not name",
        ),
        ("t.csv", "a,b,a\n1,2,3\n", r"t\.csv:1: the header names column 'a' twice"),
        ("t.csv", "a,b\n1,2\na,b\n3,4\n", r"t\.csv:3: the header is there again; remove it"),
        ("t.csv", "a;b\n1;2\n", r"t\.csv:1: .* are separated by ',', but its header has .* ';'"),
        ("t.tsv", "a,b\n1,2\n", r"t\.tsv:1: .* are separated by '\\t', but its header has .* ','"),
        ("t.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', r"t\.jsonl:2: .* \(key 'a' is there twice\)"),
        ("t.jsonl", '{"a": 1}\n\n{"a": 1} {"a": 2}\n', r"t\.jsonl:3: each row is one JSON object"),
        ("t.json", '{\n "a": 1\n}\n', r"t\.json:1: each row is one JSON object, got '{'"),
        ("t.json", '[{"a": 1}, 2]', r"t\.json: item 2: each row is one JSON object, got '2'"),
        ("t.json", '[{"a": 1},', r"t\.json begins with '\[', but is no JSON array"),
        ("t.json", '[{"a": 1}]\n[{"a": 2}]\n', r"t\.json begins with '\[', but is no JSON array"),
    ],
)
def test_a_row_of_another_form_is_named(
    name: str, text: str, message: str, tmp_path: Path
) -> None:  # fmt: skip
    with pytest.raises(UserError, match=message):
        rows(tmp_path / name, text)


def test_blanks_around_cells_and_empty_rows_mean_nothing(tmp_path: Path) -> None:
    text = "a , b\n\n 1,\t2 \n,\n  \n"
    assert rows(tmp_path / "t.csv", text) == [{"a": "1", "b": "2"}]
    assert rows(tmp_path / "t.tsv", "a\tb\n\t\n1\t 2\n") == [{"a": "1", "b": "2"}]


def test_byte_order_marks_of_joined_files_mean_nothing(tmp_path: Path) -> None:
    assert rows(tmp_path / "t.csv", "\ufeffa,b\n1,2\n\ufeff3,4\n") == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]
    assert rows(tmp_path / "t.jsonl", '\ufeff{"a": 1}\n\ufeff{"a": 2}') == [{"a": 1}, {"a": 2}]
    with pytest.raises(UserError, match=r"t\.csv:3: the header is there again"):
        rows(tmp_path / "t.csv", "\ufeffa,b\n1,2\n\ufeffa,b\n3,4\n")


def test_columns_without_a_name_hold_nothing_but_the_index_of_pandas(tmp_path: Path) -> None:
    assert rows(tmp_path / "t.csv", ",a,,\n0,x,,\n1,y,,\n") == [{"a": "x"}, {"a": "y"}]


def test_tsv_is_not_quoted(tmp_path: Path) -> None:
    text = 'a\tb\n"Hello," he said.\t1\n"and\t2\n'
    assert rows(tmp_path / "t.tsv", text) == [
        {"a": '"Hello," he said.', "b": "1"},
        {"a": '"and', "b": "2"},
    ]


def test_rows_are_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n\n1,2\n")
    assert [where for where, _ in read_table(file, "manifest")] == [f"{file}:3"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest .* cannot be read \(Is a directory\)"):
        list(read_table(tmp_path, "manifest"))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", "utf-16")
    with pytest.raises(UserError, match=r"t\.csv cannot be read: it is UTF-16 text; convert it"):
        list(read_table(tmp_path / "t.csv", "manifest"))


def test_suffixes() -> None:
    names = ("a.b.JSONL", "a.csv.gz", "a.GZ", "a")
    assert [table_suffix(Path(name)) for name in names] == [".jsonl", ".csv", "", ""]
