"""Chats in the layouts that known data sets have, written here in small."""

import pytest
from tiny import tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.shapes import SHAPES
from selfdraft.sources.shapes.shape import Making

Q1, A1 = "How do I oil the chain?", "Wipe it first, and then put a drop of oil on each link."
Q2, A2 = "And how often is that?", "Once a month, or after you rode in the rain."
SHAREGPT = {"id": "QWJ_0", "conversations": [{"from": "human", "value": Q1}, {"from": "gpt", "value": A1}]}
ULTRACHAT = {
    "prompt": Q1,
    "prompt_id": "f0e37e9f",
    "messages": [
        {"content": Q1, "role": "user"},
        {"content": A1, "role": "assistant"},
        {"content": Q2, "role": "user"},
        {"content": A2, "role": "assistant"},
    ],
}
ULTRACHAT_FIRST = {"id": "17", "data": [Q1, A1, Q2, A2]}
LMSYS = {
    "conversation_id": "33f1939a",
    "model": "vicuna-33b",
    "conversation": [{"content": Q1, "role": "user"}, {"content": A1, "role": "assistant"}],
    "turn": 1,
    "language": "English",
    "redacted": False,
}


def message(identity, role, text, *replies, rank=None, **more):
    return {"message_id": identity, "role": role, "text": text, "rank": rank, "lang": "en", "replies": replies, **more}


OASST_TREE = {
    "message_tree_id": "tree-1",
    "tree_state": "ready_for_export",
    "prompt": message(
        "m1",
        "prompter",
        Q1,
        message("m2", "assistant", "No idea.", rank=2),
        message(
            "m3",
            "assistant",
            A1,
            message("m4", "prompter", Q2, message("m5", "assistant", A2, rank=0)),
            rank=0,
        ),
        message("m6", "assistant", "Buy a new one.", rank=1),
        message("m7", "assistant", "deleted words", rank=-1, deleted=True),
    ),
}


def rows_of(node, parent=None):
    """A tree as OpenAssistant's flat files have it: one row a message."""
    row = {key: value for key, value in node.items() if key != "replies"}
    yield {**row, "parent_id": parent, "message_tree_id": "tree-1"}
    for reply in node["replies"]:
        yield from rows_of(reply, node["message_id"])


OASST_ROWS = list(rows_of(OASST_TREE["prompt"]))
TWO, FOUR = [Q1, A1], [Q1, A1, Q2, A2]


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return ChatTokenizer.from_folder(tiny_target(tmp_path_factory.mktemp("chat") / "target"))


def cleaned(chat, records, columns=None, english_only=True):
    shape = SHAPES["conversations"](Making(chat, 128, english_only=english_only, columns=columns or {}))
    return shape, shape.clean(records, "set.jsonl")


@pytest.mark.parametrize(
    ("records", "identity", "texts"),
    [
        ([SHAREGPT], "QWJ_0", TWO),
        ([ULTRACHAT], "f0e37e9f", FOUR),
        ([ULTRACHAT_FIRST], "17", FOUR),
        ([LMSYS], "33f1939a", TWO),
        ([OASST_TREE], "tree-1", FOUR),
        (OASST_ROWS, "tree-1", FOUR),
        (OASST_ROWS[::-1], "tree-1", FOUR),
    ],
    ids=["ShareGPT", "UltraChat", "UltraChat as lists", "LMSYS", "OASST tree", "OASST rows", "OASST rows, any order"],
)
def test_every_known_layout_is_read(chat, records, identity, texts):
    _, found = cleaned(chat, records)
    assert [item.id for item in found.items] == [identity]
    assert [turn["content"] for turn in found.items[0].messages] == texts
    assert [turn["role"] for turn in found.items[0].messages] == ["user", "assistant"] * (len(texts) // 2)


def test_the_best_ranked_reply_is_followed_and_unranked_ones_come_last(chat):
    rows = [dict(row) for row in OASST_ROWS]
    rows[1]["rank"], rows[2]["rank"] = 0, None  # m2 is now the best, m3 is unranked
    _, found = cleaned(chat, rows)
    assert [turn["content"] for turn in found.items[0].messages] == [Q1, "No idea."]


def test_rows_whose_tree_lost_its_root_stay_one_origin(chat):
    orphans = [row for row in OASST_ROWS if row["message_id"] != "m1"]
    more = [{**row, "message_id": f"x{row['message_id']}", "parent_id": "gone"} for row in OASST_ROWS if row["rank"]]
    shape, found = cleaned(chat, [*orphans, *more], english_only=False)
    assert [turn["content"] for turn in found.items[0].messages] == [Q2, A2]
    assert set(shape.origins(found.items)) == {"tree-1"}
    assert found.read == len(found.items) + found.dropped.total()


def test_a_record_that_says_it_is_in_another_language_is_dropped(chat):
    foreign = {**LMSYS, "conversation_id": "b", "language": "Spanish"}
    unknown = {**ULTRACHAT, "language": "unknown"}
    _, found = cleaned(chat, [LMSYS, foreign, unknown])
    assert [item.id for item in found.items] == ["33f1939a", "f0e37e9f"]
    assert found.dropped["not English"] == 1
    assert len(cleaned(chat, [{**foreign}], english_only=False)[1].items) == 1


def test_columns_of_other_names_are_read_under_their_names(chat):
    record = {"key": 7, "dialog": [{"speaker": "user", "says": Q1}, {"speaker": "model", "says": A1}]}
    columns = {"turns": "dialog", "role": "speaker", "text": "says", "id": "key"}
    _, found = cleaned(chat, [record], columns)
    assert (found.items[0].id, [turn["content"] for turn in found.items[0].messages]) == ("7", TWO)


@pytest.mark.parametrize(
    ("record", "columns", "said"),
    [
        (
            {"text": "x", "url": "y"},
            {},
            "records have the fields text, url, expected conversations: [{from, value}, …]",
        ),
        ({"text": "x"}, {"turns": "dialog"}, "records have the fields text, expected dialog: [{from, value}, …]"),
        ({"messages": [{"who": "a", "what": "b"}]}, {}, "turns have the fields who, what, expected"),
        (["x"], {}, "records are of type list, expected"),
    ],
)
def test_what_is_no_conversation_is_said_with_what_was_found(chat, record, columns, said):
    with pytest.raises(StudyError) as caught:
        cleaned(chat, [record], columns)
    assert said in str(caught.value)
    assert str(caught.value).startswith("set.jsonl: ")
    assert "\n" not in str(caught.value)


def test_a_column_that_the_shape_does_not_have_is_named(chat):
    with pytest.raises(StudyError, match=r"columns\.body: unknown; shape conversations has turns, role, text, id"):
        cleaned(chat, [SHAREGPT], {"body": "x"})
