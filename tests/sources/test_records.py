import json

import pytest

from selfdraft.errors import StudyError
from selfdraft.sources.records import read_hub_rows, read_records

RECORDS = [{"id": f"a_{n}", "conversations": [{"from": "human", "value": 'ü [{]}, \\ " é' * n}]} for n in range(5)]


def test_a_whole_list_is_read_without_loss(tmp_path):
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(RECORDS, indent=2))
    found = read_records(path)
    assert found.records == RECORDS
    assert (found.lost_characters, found.reason) == (0, "")


def test_a_list_cut_anywhere_keeps_the_complete_records_and_counts_the_rest(tmp_path):
    text = json.dumps(RECORDS, ensure_ascii=False)
    path = tmp_path / "cut.json"
    ends = [len(json.dumps(RECORDS[:n], ensure_ascii=False)) - 1 for n in range(len(RECORDS) + 1)]
    for cut in range(ends[1], len(text)):
        path.write_text(text[:cut], encoding="utf-8")
        found = read_records(path)
        complete = max(n for n in range(len(RECORDS) + 1) if ends[n] <= cut)
        assert found.records == RECORDS[:complete]
        assert found.reason.startswith(f"broken off after record {complete}")
        gap = len(", ")
        assert max(0, cut - ends[complete] - gap) <= found.lost_characters <= cut - ends[complete]


def test_a_cut_inside_a_character_is_survived(tmp_path):
    whole = json.dumps(RECORDS, ensure_ascii=False).encode()
    path = tmp_path / "cut.json"
    path.write_bytes(whole[: whole.rindex("é".encode()) + 1])
    assert read_records(path).records == RECORDS[:4]


def test_json_lines_are_read_and_broken_lines_counted(tmp_path):
    lines = [json.dumps(record) for record in RECORDS]
    lines[2] = lines[2][:20]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(lines) + "\n")
    found = read_records(path)
    assert found.records == RECORDS[:2] + RECORDS[3:]
    assert (found.lost_characters, found.reason) == (20, "1 broken lines")


@pytest.mark.parametrize("text", ["", "  \n", "hello", "PK\x03\x04", "<html>", "nul"])
def test_what_is_not_json_at_all_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "no.json"
    path.write_text(text)
    with pytest.raises(StudyError, match=r"no\.json: not JSON: found .*, expected a list") as caught:
        read_records(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", '[{"id": "a', "{broken\n"])
def test_no_complete_record_is_refused(tmp_path, text):
    path = tmp_path / "none.json"
    path.write_text(text)
    with pytest.raises(StudyError, match="no complete record"):
        read_records(path)


def test_text_behind_the_list_is_counted(tmp_path):
    path = tmp_path / "more.json"
    path.write_text(json.dumps(RECORDS) + "garbage")
    found = read_records(path)
    assert (found.records, found.lost_characters) == (RECORDS, 7)


def test_rows_of_a_local_dataset_come_through_the_datasets_library(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(json.dumps(record) for record in RECORDS))
    found = read_hub_rows(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.records == RECORDS


def test_a_dataset_that_cannot_be_loaded_is_one_line(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(StudyError, match="datasets cannot load it") as caught:
        read_hub_rows(str(tmp_path / "set"), split="train", cache_dir=str(tmp_path / "cache"))
    assert "\n" not in str(caught.value)
