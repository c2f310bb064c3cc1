import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from selfdraft.errors import StudyError
from selfdraft.sequences import pack, read_prompts, read_sequences, write_sequences


@pytest.fixture
def folder(tmp_path):
    rows = [([5, 6, 7], [0, 1, 1]), ([8, 9], [0, 1])]
    index = [{"id": "a_0", "origin": "a"}, {"id": "b_0", "origin": "b"}]
    write_sequences(tmp_path, "train", pack(rows, index))
    (tmp_path / "index.json").write_text(json.dumps({"train": index}))
    return tmp_path


def test_what_is_written_is_read_again(folder):
    found = read_sequences(folder, "train")
    assert found.tokens.tolist() == [5, 6, 7, 8, 9]
    assert found.mask.tolist() == [0, 1, 1, 0, 1]
    assert found.offsets.tolist() == [0, 3, 5]
    assert found.lengths.tolist() == [3, 2]
    assert (len(found), found.ids, found.origins) == (2, ("a_0", "b_0"), ("a", "b"))
    assert [found.tokens.dtype, found.mask.dtype, found.offsets.dtype] == [np.int32, np.uint8, np.int64]


def test_missing_and_malformed_files_are_named(folder):
    with pytest.raises(StudyError, match=r"held_out\.safetensors: file not found"):
        read_sequences(folder, "held_out")
    good = {"tokens": np.zeros(3, np.int32), "mask": np.zeros(3, np.uint8), "offsets": np.array([0, 3])}
    for change, said in (
        ({"tokens": np.zeros(3, np.int64)}, "tokens: found int64"),
        ({"mask": np.zeros(2, np.uint8)}, "offsets do not divide 3 tokens and 2 mask values"),
        ({"offsets": np.array([0, 2])}, "offsets do not divide"),
        ({"offsets": np.array([0, 2, 1, 3])}, "offsets do not divide"),
        ({}, "train: expected 1 names"),
    ):
        save_file({**good, **change}, folder / "train.safetensors")
        with pytest.raises(StudyError, match=said):
            read_sequences(folder, "train")
    (folder / "train.safetensors").write_bytes(b"\x08\x00\x00\x00")
    with pytest.raises(StudyError, match=r"train\.safetensors: not a whole safetensors file"):
        read_sequences(folder, "train")


def test_prompts_are_checked(tmp_path):
    path = tmp_path / "prompts.json"
    good = {"id": "a_0", "origin": "a", "tokens": [1, 2], "text": "hi"}
    path.write_text(json.dumps([good]))
    assert read_prompts(tmp_path)[0].tokens == (1, 2)
    for bad, said in (
        ([], "at least one prompt"),
        ([{**good, "tokens": []}], "prompt 0: tokens: expected at least one"),
        ([good, {"id": "b"}], "prompt 1: origin: expected a str"),
    ):
        path.write_text(json.dumps(bad))
        with pytest.raises(StudyError, match=said):
            read_prompts(tmp_path)
    path.unlink()
    with pytest.raises(StudyError, match=r"prompts\.json: file not found"):
        read_prompts(tmp_path)
