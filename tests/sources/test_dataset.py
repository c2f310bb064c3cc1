import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import conversations, tiny_conversations, tiny_target

from selfdraft.cli import main
from selfdraft.errors import StudyError
from selfdraft.sequences import SPLITS, read_counts, read_prompts, read_sequences
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.data_settings import only_part, parts_of
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


def test_words_are_counted_on_the_training_splits_text_that_is_not_trained_on_too(chats, target, tmp_path):
    build(chats, target, tmp_path / "few", train_tokens=300)
    build(chats, target, tmp_path / "all", train_tokens=1_000_000)
    few, whole = (read_sequences(tmp_path / name, "train") for name in ("few", "all"))
    vocab = int(whole.tokens.max()) + 3
    assert len(few.tokens) < len(whole.tokens) / 2
    for name in ("few", "all"):
        assert read_counts(tmp_path / name, vocab).tolist() == np.bincount(whole.tokens, minlength=vocab).tolist()
    with pytest.raises(StudyError, match=f"token {vocab - 3} is not one of the target's 5"):
        read_counts(tmp_path / "few", 5)


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
    for record in records:
        record["conversations"][0]["value"] = "Why is it that the sky is blue? " * 60
    chats.write_text(json.dumps(records))
    with pytest.raises(StudyError, match="no conversation has an answer within sequence_length 16"):
        build(chats, target, tmp_path / "none", sequence_length=16)
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
        ({"held_out_fraction": 1.0}, "data.held_out_fraction: 1.0 is not in"),
        ({"prompts": 0}, "data.prompts: 0 is not ≥ 1"),
        ({"train_tokens": "many"}, 'data.train_tokens: "many" is not a whole number'),
        ({"prompt_length": [9, 3]}, "data.prompt_length"),
    ],
)
def test_a_wrong_setting_is_named(change, said):
    with pytest.raises(StudyError, match=said):
        only_part({"kind": "path", "path": "x"}, {**SETTINGS, **change})


def documents(path: Path, count: int, sentences: int = 30, name: str = "d") -> Path:
    """JSON lines of web text: documents of their own, long enough for several sequences."""
    rows = [
        {
            "id": f"{name}{n}",
            "text": " ".join(f"Story {n} of {name} has line {k} on the river." for k in range(sentences)),
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def built(target: Path, out: Path, source: Path, **settings: Any) -> dict[str, Any]:
    parts, checked = only_part({"kind": "path", "path": str(source)}, settings)
    return build_dataset("set", parts, target, out, checked, out.parent / "cache")


def test_text_is_split_by_document_and_every_token_but_the_first_is_a_label(target, tmp_path):
    summary = built(target, tmp_path / "out", documents(tmp_path / "d.jsonl", 40), **SETTINGS, shape="text")
    origins = {}
    for split in SPLITS:
        found = read_sequences(tmp_path / "out", split)
        starts = found.offsets[:-1]
        assert not found.mask[starts].any()
        assert found.mask.sum() == len(found.tokens) - len(found)
        assert SETTINGS[f"{split}_tokens"] <= len(found.tokens) < SETTINGS[f"{split}_tokens"] + 128
        assert summary["splits"][split]["sequences"] == len(found)
        origins[split] = set(found.origins)
        assert {identity.rpartition(":")[0] for identity in found.ids} == origins[split]
    assert not origins["train"] & (origins["held_out"] | origins["validation"])
    assert {prompt.origin for prompt in read_prompts(tmp_path / "out")} & origins["train"] == set()


def test_a_documents_second_piece_waits_for_the_first_ones_of_all(target, tmp_path):
    settings = {"shape": "text", "splits": ["held_out"], "sequence_length": 128, "held_out_tokens": 10**6}
    built(target, tmp_path / "out", documents(tmp_path / "d.jsonl", 6), **settings)
    found = read_sequences(tmp_path / "out", "held_out")
    pieces = [int(identity.rpartition(":")[2]) for identity in found.ids]
    assert pieces == sorted(pieces)
    assert pieces.count(0) == pieces.count(1) == len(set(found.origins)) == 6
    assert len(set(found.ids)) == len(found)


def test_data_for_evaluation_alone_are_all_held_out(target, tmp_path):
    settings = {"splits": ["held_out"], "sequence_length": 128, "held_out_tokens": 10**6, "shape": "text"}
    settings["held_out_fraction"] = 0.1  # of data that are trained on: means nothing here
    summary = built(target, tmp_path / "out", documents(tmp_path / "d.jsonl", 12), **settings)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "held_out.safetensors",
        "index.json",
        "sources.json",
    ]
    assert len(set(read_sequences(tmp_path / "out", "held_out").origins)) == summary["origins"] == 12
    with pytest.raises(StudyError, match=r"train\.safetensors: file not found; these data were made without train seq"):
        read_sequences(tmp_path / "out", "train")
    with pytest.raises(StudyError, match=r"prompts\.json: file not found; these data were made without prompts"):
        read_prompts(tmp_path / "out")


def test_prompts_alone_make_no_sequences(target, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(
        "".join(json.dumps({"question_id": n, "turns": [f"What is {n} and {n}?", "Why?"]}) + "\n" for n in range(9))
    )
    settings = {"splits": ["held_out"], "shape": "prompts", "prompts": 9, "prompt_length": [4, 60]}
    summary = built(target, tmp_path / "out", path, **settings)
    assert summary["prompts"] == 9
    assert {prompt.id for prompt in read_prompts(tmp_path / "out")} == {str(n) for n in range(9)}
    assert all("Why?" not in prompt.text for prompt in read_prompts(tmp_path / "out"))
    with pytest.raises(
        StudyError, match=r"held_out\.safetensors: file not found; these data were made without held_out"
    ):
        read_sequences(tmp_path / "out", "held_out")


def test_only_so_many_records_are_read(target, tmp_path):
    path = documents(tmp_path / "d.jsonl", 50)
    path.write_text(path.read_text() + "{broken")
    summary = built(target, tmp_path / "out", path, **SETTINGS, shape="text", max_records=20)
    assert (summary["read"], summary["max_records"], summary["truncated"]["reason"]) == (20, 20, "")


def mixed(chats: Path, target: Path, out: Path, weights: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A mixture of chats, text and summaries."""
    summaries = out.parent / "s.jsonl"
    rows = [{"id": n, "document": f"Report {n}. " * 30, "summary": f"It is report {n} of many."} for n in range(200)]
    summaries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = {
        "chat": {"source": {"kind": "path", "path": str(chats)}},
        "web": {"source": {"kind": "path", "path": str(documents(out.parent / "d.jsonl", 60))}, "shape": "text"},
        "news": {"source": {"kind": "path", "path": str(summaries)}, "shape": "summaries"},
    }
    mixture = {name: {**parts[name], "weight": weight} for name, weight in weights.items()}
    return build_dataset("mix", *with_places(parts_of(mixture, {**SETTINGS, **changes}), target, out))


def with_places(checked: tuple[Any, Any], target: Path, out: Path) -> tuple[Any, ...]:
    """The arguments of `build_dataset` behind the name."""
    parts, settings = checked
    return parts, target, out, settings, out.parent / "cache"


def test_a_mixture_has_the_shares_of_its_weights_in_every_split(chats, target, tmp_path):
    weights = {"chat": 3, "web": 1, "news": 1}
    budgets = {"train_tokens": 8000, "validation_tokens": 1500, "held_out_tokens": 4000, "prompts": 10}
    summary = mixed(chats, target, tmp_path / "out", weights, **budgets, held_out_fraction=0.5)
    for split in SPLITS:
        found = read_sequences(tmp_path / "out", split)
        tokens = dict.fromkeys(weights, 0)
        for origin, length in zip(found.origins, found.lengths, strict=True):
            tokens[origin.partition("/")[0]] += int(length)
        for name, weight in weights.items():
            share = budgets[f"{split}_tokens"] * weight / 5
            assert share <= tokens[name] < share + 128
            assert summary["parts"][name]["splits"][split]["tokens"] == tokens[name]
        assert summary["splits"][split]["tokens"] == len(found.tokens) == sum(tokens.values())
    prompts = [prompt.origin.partition("/")[0] for prompt in read_prompts(tmp_path / "out")]
    assert {name: prompts.count(name) for name in weights} == {"chat": 6, "web": 2, "news": 2}
    assert {name: prompts[:5].count(name) for name in weights} == {"chat": 3, "web": 1, "news": 1}


def test_the_parts_of_a_mixture_are_split_each_for_itself(chats, target, tmp_path):
    both = mixed(chats, target, tmp_path / "both", {"chat": 1, "web": 1}, held_out_fraction=0.5)
    alone = mixed(chats, target, tmp_path / "alone", {"chat": 2}, held_out_fraction=0.5)
    origins = [both["parts"]["chat"]["splits"][split]["available"] for split in SPLITS]
    assert origins == [alone["parts"]["chat"]["splits"][split]["available"] for split in SPLITS]
    sets = {
        name: [set(read_sequences(tmp_path / name, split).origins) for split in SPLITS] for name in ("both", "alone")
    }
    for train, validation, held_out in sets.values():
        assert not train & validation | train & held_out | validation & held_out
    assert not sets["both"][0] & (sets["alone"][1] | sets["alone"][2])


def test_a_part_that_runs_out_is_said_aloud_and_not_filled_by_others(chats, target, tmp_path, capsys):
    small = tmp_path / "small.jsonl"
    documents(small, 8, sentences=6)
    mixture = {
        "chat": {"weight": 1, "source": {"kind": "path", "path": str(chats)}},
        "tiny": {"weight": 1, "shape": "text", "source": {"kind": "path", "path": str(small)}},
    }
    options = ["--mixture", json.dumps(mixture), "--settings", json.dumps({**SETTINGS, "train_tokens": 3000})]
    assert main(["data", "--name", "m", "--target", str(target), "--out-dir", str(tmp_path / "o"), *options]) == 0
    found = json.loads((tmp_path / "o" / "sources.json").read_text())
    assert found["parts"]["tiny"]["splits"]["train"]["tokens"] < 1500
    assert 1500 <= found["parts"]["chat"]["splits"]["train"]["tokens"] < 1500 + 128
    said = capsys.readouterr().err
    assert "m, tiny (weight 1): train: " in said
    assert "tokens is all there is; asked for 1,500" in said
    assert "m, chat (weight 1): train" not in said


def test_a_mistake_in_a_part_names_the_part(chats, target, tmp_path):
    web = {"web": {"weight": 1, "shape": "text", "source": {"kind": "path", "path": str(chats)}}}
    with pytest.raises(
        StudyError, match=r"^data\.mixture\.web: .*chats\.json: records have the fields id, conv.*, exp"
    ):
        build_dataset("m", *with_places(parts_of(web, SETTINGS), target, tmp_path / "out"))
    with pytest.raises(StudyError, match=r"^data\.mixture\.chat\.prompt_length: none of \d+ held-out conversations"):
        mixed(chats, target, tmp_path / "out", {"chat": 1, "news": 1}, prompt_length=[8, 20])
    assert not (tmp_path / "out").exists()


def test_a_source_or_a_mixture_and_not_both(target, tmp_path, capsys):
    options = ["--name", "x", "--target", str(target), "--out-dir", str(tmp_path / "o"), "--settings", "{}"]
    for wrong in ([], ["--source", "{}", "--mixture", "{}"]):
        with pytest.raises(SystemExit):
            main(["data", *options, *wrong])
    assert "--mixture" in capsys.readouterr().err


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
