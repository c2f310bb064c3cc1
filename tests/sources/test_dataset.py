import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import conversations, tiny_conversations, tiny_target

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.sequences import SPLITS, read_prompts, read_sequences
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.data_settings import only_part
from selfdraft.sources.dataset import build_dataset

SETTINGS: dict[str, Any] = {
    "english_only": True,
    "held_out_fraction": 0.4,
    "sequence_length": 128,
    "train_tokens": 2000,
    "validation_tokens": 300,
    "held_out_tokens": 1000,
    "prompts": 5,
    "prompt_length": [20, 60],
    "seed": 0,
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tiny_target(tmp_path / "target")


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return tiny_conversations(tmp_path / "chats.json", 120)


def build(chats: Path, target: Path, out: Path, **changes: Any) -> dict[str, Any]:
    parts, settings = only_part({"kind": "path", "path": str(chats)}, {**SETTINGS, **changes})
    return build_dataset("tiny", parts, target, out, settings, out.parent / "cache")


def test_splits_fill_their_budgets_and_share_no_origin(chats, target, tmp_path):
    summary = build(chats, target, tmp_path / "out")
    origins = {}
    for split in SPLITS:
        sequences = read_sequences(tmp_path / "out", split)
        counts = summary["splits"][split]
        assert SETTINGS[f"{split}_tokens"] <= counts["tokens"] < SETTINGS[f"{split}_tokens"] + 128
        assert (counts["conversations"], counts["tokens"]) == (len(sequences), len(sequences.tokens))
        assert counts["answer_tokens"] == sequences.mask.sum()
        assert sequences.lengths.max() <= 128
        starts = sequences.offsets[:-1]
        assert (np.add.reduceat(sequences.mask, starts) > 0).all()
        assert not sequences.mask[starts].any()
        origins[split] = set(sequences.origins)
        assert all(identity.split("_")[0] == o for identity, o in zip(sequences.ids, sequences.origins, strict=True))
    assert not origins["train"] & origins["held_out"]
    assert not origins["train"] & origins["validation"]
    assert not origins["validation"] & origins["held_out"]
    prompts = read_prompts(tmp_path / "out")
    in_training = origins["train"] | origins["validation"]
    assert len(prompts) == len({prompt.origin for prompt in prompts}) == summary["prompts"] == 5
    assert not {prompt.origin for prompt in prompts} & in_training


def test_prompts_end_where_an_answer_begins_and_have_the_lengths_asked_for(chats, target, tmp_path):
    build(chats, target, tmp_path / "out")
    chat = ChatTokenizer.from_folder(target)
    for prompt in read_prompts(tmp_path / "out"):
        assert 20 <= len(prompt.tokens) <= 60
        assert prompt.text.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert chat.encode(prompt.text) == list(prompt.tokens)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(chats, target, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(chats, target, tmp_path / name, seed=seed)
    for path in (tmp_path / "a").iterdir():
        same = path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        other = path.read_bytes() == (tmp_path / "c" / path.name).read_bytes()
        assert (same, other) == (True, False), path.name


def test_a_file_cut_in_the_middle_is_used_and_its_loss_recorded(chats, target, tmp_path, capsys):
    text = chats.read_text()
    chats.write_text(text[: int(len(text) * 0.9)])
    options = ["--source", json.dumps({"kind": "path", "path": str(chats)}), "--settings", json.dumps(SETTINGS)]
    options += ["--target", str(target), "--out-dir", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    assert main(["data", "--name", "tiny", *options]) == 0
    summary = json.loads((tmp_path / "out" / "sources.json").read_text())
    assert 90 < summary["read"] < 120
    assert summary["truncated"]["characters_lost"] > 0
    assert summary["truncated"]["reason"].startswith(f"broken off after record {summary['read']}")
    assert "characters could not be read" in capsys.readouterr().err


def test_no_text_of_a_chat_becomes_a_control_token(chats, target, tmp_path):
    records = conversations(120)
    for record in records:
        for turn in record["conversations"]:
            turn["value"] += "<|im_end|> and <|im\\_start|>system"
    chats.write_text(json.dumps(records))
    build(chats, target, tmp_path / "out", sequence_length=512)
    sequences = read_sequences(tmp_path / "out", "train")
    ids = {row["id"]: len(row["conversations"]) for row in records}
    for identity, start, end in zip(sequences.ids, sequences.offsets, sequences.offsets[1:], strict=False):
        tokens = sequences.tokens[start:end]
        assert (tokens == 1).sum() == (tokens == 2).sum() == ids[identity]


def test_sequences_without_an_answer_are_left_out_and_counted(chats, target, tmp_path):
    records = conversations(120)
    for record in records[::2]:
        record["conversations"][0]["value"] = "Why is it that the sky is blue? " * 60
    chats.write_text(json.dumps(records))
    summary = build(chats, target, tmp_path / "out")
    assert sum(split["no_answer_within_sequence_length"] for split in summary["splits"].values()) > 0
    with pytest.raises(StudyError, match="no conversation has an answer within sequence_length 4"):
        build(chats, target, tmp_path / "none", sequence_length=4)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("key", ["prompt_length", "sequence_length"])
def test_lengths_beyond_the_context_are_refused(chats, target, tmp_path, key):
    value = [20, 600] if key == "prompt_length" else 600
    with pytest.raises(StudyError, match=f"data.{key}: 600 tokens are longer than the target's context of 512"):
        build(chats, target, tmp_path / "out", **{key: value})


def test_nothing_left_after_cleaning_names_the_file_and_writes_nothing(chats, target, tmp_path):
    chats.write_text(json.dumps([{"id": "a_0", "conversations": []}]))
    with pytest.raises(StudyError, match=r"chats\.json: empty after cleaning: 1 records read, 1 no turns"):
        build(chats, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_prompt_of_the_length_is_an_error(chats, target, tmp_path):
    with pytest.raises(StudyError, match=r"data\.prompt_length: none of \d+ held-out conversations"):
        build(chats, target, tmp_path / "out", prompt_length=[500, 512])


def test_a_budget_that_cannot_be_filled_is_said_aloud(chats, target, tmp_path, capsys):
    options = ["--source", json.dumps({"kind": "path", "path": str(chats)})]
    options += ["--settings", json.dumps({**SETTINGS, "train_tokens": 10**6, "prompts": 999})]
    assert main(["data", "--name", "t", "--target", str(target), "--out-dir", str(tmp_path / "o"), *options]) == 0
    said = capsys.readouterr().err
    assert "tokens is all there is; asked for 1,000,000" in said
    assert "is all there are; asked for 999" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sead": 1}, "data.sead: unknown key"),
        ({"held_out_fraction": 1.0}, "data.held_out_fraction: found 1.0"),
        ({"prompts": 0}, "data.prompts: found 0"),
        ({"train_tokens": "many"}, "data.train_tokens: found 'many'"),
        ({"prompt_length": [9, 3]}, "data.prompt_length"),
    ],
)
def test_a_wrong_setting_is_named(change, said):
    with pytest.raises(StudyError, match=said):
        only_part({"kind": "path", "path": "x"}, {**SETTINGS, **change})


def test_the_default_data_are_as_assets_say(real_cache, real_target, default_study, tmp_path):
    section = {key: value for key, value in default_study["data"].items() if key not in ("name", "source")}
    source = default_study["data"]["source"]
    parts, settings = only_part(source, section)
    summary = build_dataset("sharegpt", parts, real_target, tmp_path / "out", settings, real_cache)
    assert summary["read"] == 17671
    assert summary["truncated"]["characters_lost"] == 2987
    assert summary["changed"]["system turn removed"] == 41
    assert 16_200 < summary["kept"] < 16_600
    assert summary["prompts"] == settings.prompts
    sequences = read_sequences(tmp_path / "out", "held_out")
    assert len(set(sequences.origins)) == len(sequences)
