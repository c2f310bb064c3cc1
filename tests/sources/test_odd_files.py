"""Files as people really have them: their encodings, line ends, arrangement and neighbours."""

import json
import os
from collections import Counter

import pytest

from selfdraft.errors import StudyError
from selfdraft.sources.cleaning import Conversation, clean_records
from selfdraft.sources.data_files import read_source
from selfdraft.sources.origins import origins_of
from selfdraft.sources.plain_text import clean_plain

ROWS = [
    {"id": f"r{n}", "conversations": [{"from": "human", "value": f"Café {n}?"}, {"from": "gpt", "value": f"Yes {n}."}]}
    for n in range(6)
]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]


def read(path, **source):
    reading = read_source({"kind": "path", "path": str(path), **source}, path.parent / "cache")
    return list(reading.records), reading.losses


@pytest.mark.parametrize(
    "text",
    [
        "\r\n".join(LINES),
        "\r".join(LINES),
        "\ufeff" + "\n".join(LINES[:3]) + "\n\ufeff" + "\n".join(LINES[3:]),
        ",\n".join(LINES),
        "".join(LINES),
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        json.dumps({"version": 1, "data": ROWS}, indent=1),
        json.dumps({"conversations": ROWS}),
        json.dumps(ROWS[:3]) + "\n" + json.dumps(ROWS[3:]),
        json.dumps({"data": {"train": ROWS[:3], "test": ROWS[3:]}}),
        json.dumps({row["id"]: {"conversations": row["conversations"]} for row in ROWS}, indent=1),
        json.dumps({row["id"]: row["conversations"] for row in ROWS}),
        "".join(f"\x1e{line}\n" for line in LINES),
        "\f\n".join(LINES),
        "\u2028".join(LINES),
    ],
    ids=[
        *("CRLF", "CR", "joined BOMs", "commas", "one line", "indented", "wrapped", "wrapped turns' name", "two lists"),
        *("splits in a wrapper", "records by id", "turns by id", "JSON sequence", "form feeds", "line separators"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_every_arrangement_of_records_is_read_whole(tmp_path, text, encoding):
    path = tmp_path / "chats.json"
    path.write_bytes(text.encode(encoding))
    records, losses = read(path)
    assert (records, losses.reasons) == (ROWS, [])


def test_one_record_whose_parts_are_alike_stays_one(tmp_path):
    record = {"prompt": {"text": "Q?", "lang": "en"}, "answer": {"text": "A.", "lang": "en"}}
    (tmp_path / "one.json").write_text(json.dumps(record, indent=1))
    assert read(tmp_path / "one.json")[0] == [record]


def test_lines_in_windows_letters_are_read_and_counted_and_damaged_utf8_is_not_taken_for_them(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_bytes("\n".join(LINES).encode("cp1252") + b"\n" + '{"id": "d", "text": "é é é'.encode() + b'\xff"}\n')
    records, losses = read(path)
    assert records == [*ROWS, {"id": "d", "text": "é é é\ufffd"}]
    assert losses.changed == {"read as Windows-1252, not being UTF-8": 6, "broken characters replaced": 1}


def test_half_a_surrogate_pair_is_replaced_and_counted_and_a_whole_one_stays(tmp_path):
    path = tmp_path / "cut.jsonl"
    path.write_text('{"id": "a\\ud83d", "text": "\\ud83d\\ude00"}\n{"id": "b", "text": "\\uD83D\\uDE00"}\n')
    records, losses = read(path)
    assert [(row["id"], row["text"]) for row in records] == [("a\ufffd", "😀"), ("b", "😀")]
    assert losses.changed == {"half of a surrogate pair replaced": 1}


def test_a_broken_object_costs_itself_and_not_its_neighbours(tmp_path):
    path = tmp_path / "broken.json"
    pretty = [json.dumps(row, indent=2) for row in ROWS]
    for bad in (pretty[2][:60], '{"id": 1, "conversations": [', '{"deep": ' + "[" * 200_000 + "]" * 200_000 + "}"):
        path.write_text("\n".join([*pretty[:2], bad, *pretty[3:]]))
        records, losses = read(path)
        assert records == ROWS[:2] + ROWS[3:]
        assert losses.reason == "1 broken lines"
        assert losses.characters > 0


def test_what_lies_beside_the_data_is_no_data(tmp_path):
    folder = tmp_path / "set"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    for n, row in enumerate(ROWS):
        (folder / f"{n}.json").write_text(json.dumps(row, indent=2))
    (folder / ".ipynb_checkpoints" / "0-checkpoint.json").write_text(json.dumps(ROWS[0]))
    (folder / "dataset_infos.json").write_text(json.dumps({"default": {"splits": []}}, indent=2))
    (folder / "empty.jsonl").write_text("")
    records, losses = read(folder)
    assert records == ROWS
    assert losses.changed == {"files that describe the data left out": 1}
    assert losses.reason.startswith("empty.jsonl: not JSON: found an empty file")


def test_a_name_that_is_not_utf8_becomes_a_readable_id(tmp_path):
    (tmp_path / "txt").mkdir()
    with open(os.fsencode(tmp_path / "txt") + b"/caf\xe9.txt", "w") as file:
        file.write("Hello.")
    assert read(tmp_path / "txt")[0] == [{"id": "café", "text": "Hello."}]


def cleaned(*records, **roles):
    return clean_records(records, [], False, "set.json", roles=roles)


def chat(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.mark.parametrize(
    "names",
    [
        *(("USER", "ASSISTANT"), ("Human", "AI"), ("user", "bot"), ("Human:", "Assistant:"), ("question", "answer")),
        *(("<|user|>", "<|assistant|>"), ("[INPUT]", "[OUTPUT]"), ("\uff35\uff53\uff45\uff52", "### Response:")),
    ],
)
def test_roles_of_other_exports_are_known(names):
    found = cleaned(chat((names[0], "Q?"), (names[1], [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}])))
    assert [turn["content"] for turn in found.items[0].messages] == ["Q?", "A\nB"]


@pytest.mark.parametrize(
    "part",
    [
        *({"type": "text", "text": {"value": "A"}}, {"type": "text", "content": "A"}, {"value": "A"}, "A"),
    ],
)
def test_a_part_holds_its_text_under_any_usual_key_and_empty_ones_are_nothing(part):
    found = cleaned(chat(("user", [None, part]), ("assistant", {"content_type": "text", "parts": ["B"]})))
    assert [turn["content"] for turn in found.items[0].messages] == ["A", "B"]


def test_turns_in_pairs_and_turns_as_json_in_a_text_are_read():
    pairs = {"conversation": [{"human": "Q1?", "assistant": "A1"}, {"assistant": "A2", "human": "Q2?", "lang": "en"}]}
    packed = {"messages": json.dumps(chat(("user", "Q1?"), ("assistant", "A1 \ud83d"))["messages"])}
    said = [[turn["content"] for turn in item.messages] for item in cleaned(pairs, packed).items]
    assert said == [["Q1?", "A1", "Q2?", "A2"], ["Q1?", "A1 \ufffd"]]


def test_tools_and_pictures_are_counted_and_kept_where_the_setting_says_so():
    tools = chat(("developer", "Be short."), ("user", "Q?"), ("assistant", "Look."), ("tool", "42"), ("assistant", "A"))
    picture = chat(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "A cat."))
    found = cleaned(tools, picture, chat(("user", "Q?"), ("assistant", "A.")))
    assert found.dropped == {"tool turns": 1, "content that is no text (image_url)": 1}
    assert len(cleaned(tools, tool="user").items[0].messages) == 4


def test_an_unknown_role_is_named_with_what_to_set():
    with pytest.raises(StudyError, match=r"1 unknown role narrator; roles: \{NAME: user \| assistant \| system\}"):
        cleaned(chat(("narrator", "Q?"), ("assistant", "A.")))


def test_a_role_that_is_a_number_is_named_and_can_be_set():
    with pytest.raises(StudyError, match="1 unknown role 0; roles"):
        cleaned(chat((0, "Q?"), (1, "A.")))
    assert len(cleaned(chat((0, "Q?"), (1, "A.")), **{"0": "user", "1": "assistant"}).items) == 1


def conversation(identity, turns=2, begins_with_answer=False):
    messages = ({"role": "user", "content": "q"}, {"role": "assistant", "content": "a"})
    return Conversation(identity, messages, turns, begins_with_answer)


@pytest.mark.parametrize("form", ["identity_{}", "train_{}", "{}", "same"])
def test_chats_numbered_through_a_set_are_no_pieces_of_one(form):
    rows = [conversation(form.format(n) + ("" if "{" in form else f"#{n}"), 2 + n % 3 * 2) for n in range(80)]
    assert len(set(origins_of(rows))) == 80


def test_a_long_chat_numbered_by_its_turns_is_one_origin_whatever_else_is_there():
    pieces = [conversation(f"xyz_{n * 10 - bool(n)}", 10 + bool(n), bool(n)) for n in range(30)]
    others = [conversation(f"identity_{n}") for n in range(40)]
    assert origins_of([*pieces, *others]) == ["xyz"] * 30 + [row.id for row in others]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.parquet", "a.json.gz"])
def test_a_git_lfs_pointer_is_no_data(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(StudyError, match="Git LFS pointer"):
        read(tmp_path / name)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_lines_of_a_text_end_as_any_system_ends_them(tmp_path, end):
    (tmp_path / "old.txt").write_bytes(end.join(["One", "Two", "", "Three"]).encode())
    (record,), _ = read(tmp_path / "old.txt")
    assert clean_plain(record["text"], [], Counter()) == "One\nTwo\n\nThree"
