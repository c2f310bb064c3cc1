import json

import pytest

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
