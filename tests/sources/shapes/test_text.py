"""Documents: FineWeb's and SlimPajama's rows in small, and plain texts."""

import pytest
from tiny import END_OF_TEXT, TURN_END, tiny_target, tiny_tokenizer

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.shapes import SHAPES
from selfdraft.sources.shapes.shape import Making

STORY = "The river is old, and the bridge over it is not. " * 12
FINEWEB = {
    "text": STORY,
    "id": "<urn:uuid:0d8a309d-25c5-405d-a08a-c11239f0d717>",
    "dump": "CC-MAIN-2013-20",
    "url": "http://example.org/a",
    "language": "en",
    "language_score": 0.94,
    "token_count": 120,
}
SLIMPAJAMA = {"text": "A song of the sea and of the land.", "meta": {"redpajama_set_name": "RedPajamaC4"}}


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return ChatTokenizer.from_folder(tiny_target(tmp_path_factory.mktemp("chat") / "target"))


def text_of(chat, length=64, **options):
    return SHAPES["text"](Making(chat, length, **options))


def documents(chat, *records, **options):
    return text_of(chat, **options).clean(records, "web.parquet")


def test_rows_of_web_text_become_documents(chat):
    found = documents(chat, FINEWEB, SLIMPAJAMA)
    assert [(item.id, item.text) for item in found.items] == [
        (FINEWEB["id"], STORY.strip()),
        ("record1", SLIMPAJAMA["text"]),
    ]


def test_a_long_document_is_divided_without_loss_into_pieces_of_about_equal_length(chat):
    item = documents(chat, FINEWEB).items[0]
    rows = text_of(chat, length=64).sequences(item)
    assert len(rows) > 2
    assert [token for tokens, _ in rows for token in tokens] == chat.encode(item.text)
    lengths = [len(tokens) for tokens, _ in rows]
    assert max(lengths) <= 64
    assert max(lengths) - min(lengths) <= 1
    assert all(mask == [0] + [1] * (len(tokens) - 1) for tokens, mask in rows)


def test_what_the_tokenizer_puts_before_a_text_begins_every_piece_and_is_no_label(tmp_path):
    from tokenizers.processors import TemplateProcessing

    folder = tiny_target(tmp_path / "target")
    tokenizer = tiny_tokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{END_OF_TEXT} $A {TURN_END}", special_tokens=[(END_OF_TEXT, 0), (TURN_END, 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    chat = ChatTokenizer.from_folder(folder)
    assert chat.lead == [0]
    item = documents(chat, FINEWEB).items[0]
    rows = text_of(chat, length=64).sequences(item)
    assert all(tokens[0] == 0 and len(tokens) <= 64 for tokens, _ in rows)
    assert [token for tokens, _ in rows for token in tokens[1:]] == chat.encode(item.text)
    tokens, text = text_of(chat).prompt(item, 8, 20)
    assert tokens[0] == 0
    assert chat.encode(text) == tokens
    assert text.startswith(END_OF_TEXT)


def test_a_document_of_one_token_has_nothing_to_predict(chat):
    assert text_of(chat, english_only=False).sequences(documents(chat, {"text": "a"}).items[0]) == []


def test_prompts_are_beginnings_that_leave_something_to_continue(chat):
    item = documents(chat, FINEWEB).items[0]
    lengths = set()
    for seed in range(30):
        tokens, text = text_of(chat, seed=seed).prompt(item, 8, 20)
        assert item.text.startswith(text)
        assert len(text) < len(item.text)
        assert chat.encode(text) == tokens
        lengths.add(len(tokens))
    assert min(lengths) >= 8
    assert max(lengths) <= 20
    assert len(lengths) > 5
    assert text_of(chat).prompt(item, 8, 20) == text_of(chat).prompt(item, 8, 20)
    whole = len(chat.encode(item.text))
    assert text_of(chat).prompt(item, whole, whole + 10) is None


def test_a_prompt_never_ends_inside_a_character(chat):
    item = documents(chat, {"text": "日本語のテキスト。" * 20}, english_only=False).items[0]
    for seed in range(20):
        tokens, text = text_of(chat, seed=seed, english_only=False).prompt(item, 10, 40)
        assert "\ufffd" not in chat.decode(tokens)
        assert item.text.startswith(text)


def test_no_text_becomes_a_control_token_and_what_goes_is_counted(chat):
    found = documents(chat, {"text": f"One{TURN_END}two <|im_sta{END_OF_TEXT}rt|>three\u200b."})
    assert found.items[0].text == "Onetwo three."
    assert not set(chat.encode(found.items[0].text)) & {0, 1, 2}
    assert found.changed == {"control strings removed": 1, "zero-width characters removed": 1}


def test_backslashes_and_markup_stay_as_they_are(chat):
    raw = "In LaTeX \\_ and \\# are <b>letters</b>; Share Prompt 1 / 2"
    assert documents(chat, {"text": raw}).items[0].text == raw


def test_empty_foreign_and_repeated_documents_are_dropped_and_counted(chat):
    spanish = {"text": "El perro de la casa no es grande, y el gato que se ve es de los vecinos. " * 2}
    stated = {"text": "Words.", "language": "fr"}
    found = documents(chat, SLIMPAJAMA, {"text": " \n"}, spanish, stated, SLIMPAJAMA, {"body_text": "x"})
    assert len(found.items) == 1
    assert found.dropped == {"empty": 1, "not English": 2, "duplicate": 1, "missing fields": 1}


def test_versions_of_a_document_are_one_origin_but_boilerplate_joins_nothing(chat):
    long, notice = "The river rose in the night. " * 10, "This page uses cookies, as all pages do. " * 10
    records = [{"id": f"d{n}", "text": f"{notice}\nNumber {n}."} for n in range(8)]
    records += [{"id": "first", "text": f"Flood\n{long}"}, {"id": "second", "text": f"Flood again\n{long}"}]
    shape = text_of(chat)
    found = shape.clean(records, "x")
    assert shape.origins(found.items) == [f"d{n}" for n in range(8)] + ["first", "first"]


def test_numbered_documents_are_no_pieces_of_one(chat):
    shape = text_of(chat)
    found = shape.clean([{"id": f"doc_{n}", "text": f"Text of number {n}."} for n in range(3)], "x")
    assert shape.origins(found.items) == ["doc_0", "doc_1", "doc_2"]


def test_missing_columns_are_named_and_columns_may_be_given(chat):
    with pytest.raises(StudyError, match=r"web\.parquet: records have the fields raw, n, expected text or content or"):
        documents(chat, {"raw": "x", "n": 1})
    with pytest.raises(StudyError, match=r"web\.parquet: records have the fields text, expected raw$"):
        documents(chat, {"text": "x"}, columns={"text": "raw"})
    assert documents(chat, {"raw": "Some words."}, columns={"text": "raw"}).items[0].text == "Some words."
    with pytest.raises(StudyError, match=r"columns\.txt: unknown; shape text has text, id, language"):
        text_of(chat, columns={"txt": "raw"})
