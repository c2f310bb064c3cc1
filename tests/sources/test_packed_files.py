import gzip
import json
import random

import pytest
import zstandard

from selfdraft.errors import StudyError
from selfdraft.sources.losses import Losses
from selfdraft.sources.packed_files import open_lines, plain_suffix, unpack_whole
from selfdraft.sources.records import records_of

RECORDS = [{"id": f"r{n}", "text": f"é {random.Random(n).getrandbits(8000):x}"} for n in range(400)]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
PACK = {
    ".gz": lambda text: gzip.compress(text.encode()),
    ".zst": lambda text: zstandard.ZstdCompressor(write_checksum=True).compress(text.encode()),
}
PACKINGS = pytest.mark.parametrize("packing", [".gz", ".zst"])


def read(path):
    losses = Losses()
    return list(records_of(path, path.name, losses)), losses


def test_the_kind_of_a_file_does_not_depend_on_its_packing(tmp_path):
    names = ["a.jsonl", "a.jsonl.gz", "a.b.parquet.zst", "a.gz", "a"]
    assert [plain_suffix(tmp_path / name) for name in names] == [".jsonl", ".jsonl", ".parquet", "", ""]


@PACKINGS
@pytest.mark.parametrize("kind", [".json", ".jsonl", ".txt"])
def test_packed_files_hold_what_plain_ones_hold(tmp_path, packing, kind):
    text = {".json": json.dumps(RECORDS), ".jsonl": LINES, ".txt": "Just é text.\n"}[kind]
    path = tmp_path / f"data{kind}{packing}"
    path.write_bytes(PACK[packing](text))
    records, losses = read(path)
    assert records == ([{"id": path.name, "text": text}] if kind == ".txt" else RECORDS)
    assert (losses.characters, losses.reasons) == (0, [])


@PACKINGS
def test_a_cut_file_keeps_the_complete_lines_and_says_that_it_was_cut(tmp_path, packing):
    whole = PACK[packing](LINES)
    path = tmp_path / f"cut.jsonl{packing}"
    for part in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        records, losses = read(path)
        assert 0 < len(records) < len(RECORDS)
        assert records == RECORDS[: len(records)]
        assert "the packed file breaks off" in losses.reason


@PACKINGS
def test_a_list_in_a_cut_file_keeps_its_complete_records(tmp_path, packing):
    whole = PACK[packing](json.dumps(RECORDS))
    path = tmp_path / f"cut.json{packing}"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    records, losses = read(path)
    assert 0 < len(records) < len(RECORDS)
    assert records == RECORDS[: len(records)]
    assert "the packed file breaks off" in losses.reason
    assert f"broken off after record {len(records)}" in losses.reason


@PACKINGS
def test_a_cut_inside_the_last_bytes_is_noticed_too(tmp_path, packing):
    path = tmp_path / f"cut.jsonl{packing}"
    path.write_bytes(PACK[packing](LINES)[:-2])
    assert "breaks off" in read(path)[1].reason


@PACKINGS
def test_a_file_spoilt_in_the_middle_keeps_what_lies_before_and_says_so(tmp_path, packing):
    spoilt = bytearray(PACK[packing](LINES))
    middle = len(spoilt) // 2
    spoilt[middle : middle + 2000] = bytes(2000)
    path = tmp_path / f"spoilt.jsonl{packing}"
    path.write_bytes(spoilt)
    records, losses = read(path)
    assert records[:50] == RECORDS[:50]
    assert "the packed file is broken" in losses.reason


@PACKINGS
def test_what_is_not_packed_at_all_is_refused_in_one_line(tmp_path, packing):
    path = tmp_path / f"no.jsonl{packing}"
    path.write_text(LINES)
    with pytest.raises(StudyError, match=r"no\.jsonl.*: not JSON: found an empty file") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@PACKINGS
def test_several_frames_one_after_the_other_are_one_file(tmp_path, packing):
    path = tmp_path / f"two{packing}"
    padding = bytes(64) if packing == ".gz" else b""
    path.write_bytes(PACK[packing]("one ") + PACK[packing]("two") + padding)
    losses = Losses()
    assert unpack_whole(path, losses) == b"one two"
    assert losses.reasons == []


def test_a_stream_gives_its_first_line_without_the_rest_of_the_file(tmp_path):
    path = tmp_path / "long.jsonl.gz"
    whole = PACK[".gz"](LINES)
    path.write_bytes(whole[:100_000] + b"what stands here is never read" * 1000)
    losses = Losses()
    with open_lines(path, losses) as lines:
        assert json.loads(next(iter(lines))) == RECORDS[0]
    assert losses.reasons == []


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(StudyError, match=r"gone\.jsonl\.gz: No such file"):
        list(records_of(tmp_path / "gone.jsonl.gz", "gone", Losses()))
