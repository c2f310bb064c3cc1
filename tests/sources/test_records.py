import gzip
import json

import pyarrow.parquet
import pytest
import zstandard

from selfdraft.errors import StudyError
from selfdraft.sources.losses import Losses
from selfdraft.sources.records import hub_rows, records_of


def read(path):
    """All records of a file, and what was lost."""
    losses = Losses()
    return list(records_of(path, path.name, losses)), losses


RECORDS = [{"id": f"a_{n}", "conversations": [{"from": "human", "value": 'ü [{]}, \\ " é' * n}]} for n in range(5)]


def test_a_whole_list_is_read_without_loss(tmp_path):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(RECORDS, indent=2))
    records, losses = read(path)
    assert records == RECORDS
    assert (losses.characters, losses.reason) == (0, "")


def test_a_list_cut_anywhere_keeps_the_complete_records_and_counts_the_rest(tmp_path):
    text = json.dumps(RECORDS, ensure_ascii=False)
    path = tmp_path / "cut.json"
    ends = [len(json.dumps(RECORDS[:n], ensure_ascii=False)) - 1 for n in range(len(RECORDS) + 1)]
    for cut in range(ends[1], len(text)):
        path.write_text(text[:cut], encoding="utf-8")
        records, losses = read(path)
        complete = max(n for n in range(len(RECORDS) + 1) if ends[n] <= cut)
        assert records == RECORDS[:complete]
        assert losses.reason.startswith(f"broken off after record {complete}")
        gap = len(", ")
        assert max(0, cut - ends[complete] - gap) <= losses.characters <= cut - ends[complete]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_inside_an_object_is_cut_as_one_that_stands_alone(tmp_path, indent):
    path = tmp_path / "cut.json"
    text = json.dumps({"version": 1, "train": RECORDS[:2], "data": RECORDS[2:]}, ensure_ascii=False, indent=indent)
    ends = [text.index(json.dumps(record["id"])) for record in RECORDS] + [len(text)]
    for number in (2, 3, 4):
        for cut in (ends[number] - 2, ends[number] + 4, ends[number + 1] - 16):
            path.write_text(text[:cut], encoding="utf-8")
            records, losses = read(path)
            assert records == RECORDS[:number]
            assert "broken off after record" in losses.reason


def test_a_broken_record_of_a_list_inside_an_object_costs_itself(tmp_path):
    path = tmp_path / "broken.json"
    path.write_text(json.dumps({"data": RECORDS}).replace('"a_1"', "a_1"))
    records, losses = read(path)
    assert records == [RECORDS[0], *RECORDS[2:]]
    assert losses.reason.startswith("broken record 2: ")
    path.write_text(json.dumps({"data": RECORDS})[:20])
    with pytest.raises(StudyError, match=r"no complete record \(broken off after record 0"):
        read(path)


def test_a_line_of_many_megabytes_is_read_and_a_broken_one_is_a_broken_line(tmp_path):
    path = tmp_path / "long.jsonl"
    long = {"id": "long", "text": "water and \u00e9 " * 2_500_000}
    line = json.dumps(long, ensure_ascii=False)
    path.write_text("\n".join([json.dumps(RECORDS[1]), line, line[:-2], '{"numbers": [' + "1," * 400_000, "{}"]))
    records, losses = read(path)
    assert records == [RECORDS[1], long, {}]
    assert losses.reason == "2 broken lines"


def test_a_cut_inside_a_character_is_survived(tmp_path):
    whole = json.dumps(RECORDS, ensure_ascii=False).encode()
    path = tmp_path / "cut.json"
    path.write_bytes(whole[: whole.rindex("é".encode()) + 1])
    assert read(path)[0] == RECORDS[:4]


def test_json_lines_are_read_and_broken_lines_counted(tmp_path):
    lines = [json.dumps(record) for record in RECORDS]
    lines[2] = lines[2][:20]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(lines) + "\n")
    records, losses = read(path)
    assert records == RECORDS[:2] + RECORDS[3:]
    assert (losses.characters, losses.reason) == (20, "1 broken lines")


@pytest.mark.parametrize("text", ["", "  \n", "hello", "PK\x03\x04", "<html>", "nul"])
def test_what_is_not_json_at_all_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "no.json"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"no\.json: not JSON: found .*, expected a list") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '[{"id": "a', "{broken\n"])
def test_no_complete_record_is_refused(tmp_path, text):
    path = tmp_path / "none.json"
    path.write_text(text)
    with pytest.raises(StudyError, match="no complete record"):
        read(path)


def test_text_behind_the_list_is_counted(tmp_path):
    path = tmp_path / "more.json"
    path.write_text(json.dumps(RECORDS) + "garbage")
    records, losses = read(path)
    assert (records, losses.characters) == (RECORDS, 7)


def test_rows_of_a_local_dataset_come_through_the_datasets_library(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(json.dumps(record) for record in RECORDS))
    assert list(hub_rows(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))) == RECORDS


def test_a_dataset_that_cannot_be_loaded_is_one_line(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(StudyError, match="datasets cannot load it") as caught:
        list(hub_rows(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache")))
    assert "\n" not in str(caught.value)


def write_rows(path, rows, group=2):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_parquet_rows_are_read_with_their_lists_and_structures(tmp_path, packing):
    plain, path = tmp_path / "plain", tmp_path / f"rows.parquet{packing}"
    write_rows(plain, RECORDS)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packing]
    path.write_bytes(pack(plain.read_bytes()))
    assert read(path)[0] == RECORDS


def test_parquet_is_read_one_row_group_after_the_other(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    write_rows(path, RECORDS)
    groups = []
    real = pyarrow.parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        pyarrow.parquet.ParquetFile, "read_row_group", lambda file, group: groups.append(group) or real(file, group)
    )
    rows = records_of(path, "rows", Losses())
    assert [next(rows), next(rows), next(rows)] == RECORDS[:3]
    assert groups == [0, 1]


@pytest.mark.parametrize("packing", ["", ".gz"])
def test_a_cut_parquet_file_is_one_line(tmp_path, packing):
    path = tmp_path / f"cut.parquet{packing}"
    write_rows(tmp_path / "whole", RECORDS)
    whole = (tmp_path / "whole").read_bytes()
    whole = gzip.compress(whole) if packing else whole
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(StudyError, match=r"cut\.parquet.*: not a whole Parquet file") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_one_record_and_one_in_windows_letters_is_counted(tmp_path):
    good, old = tmp_path / "good.txt", tmp_path / "old.txt"
    good.write_bytes("£5 for tea".encode())
    old.write_bytes("£5 for tea".encode("cp1252"))
    for path, count in ((good, 0), (old, 1)):
        records, losses = read(path)
        assert records == [{"id": path.name, "text": "£5 for tea"}]
        assert losses.changed["read as Windows-1252, not being UTF-8"] == count


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(StudyError, match=r"a\.csv: expected a \.json, \.jsonl, \.parquet or \.txt file"):
        read(tmp_path / "a.csv")


def test_lines_are_read_one_at_a_time(tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps(RECORDS[0]) + "\n" + "{broken\n" * 1000)
    losses = Losses()
    rows = records_of(path, "long", losses)
    assert next(rows) == RECORDS[0]
    rows.close()
    assert losses.reasons == []
