"""Documents with summaries: XSum's and CNN/DailyMail's rows in small."""

import pytest
from tiny import tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.shapes import SHAPES
from selfdraft.sources.shapes.shape import Making
from selfdraft.sources.shapes.summaries import INSTRUCTION

DOCUMENT = "The bridge over the river was closed on Monday. Its owner said that it is old. " * 6
SUMMARY = "An old bridge was closed."
XSUM = {"document": DOCUMENT, "summary": SUMMARY, "id": "29750031"}
CNN = {"article": DOCUMENT, "highlights": "An old bridge is closed .\nIts owner spoke .", "id": "42c027e4"}


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return ChatTokenizer.from_folder(tiny_target(tmp_path_factory.mktemp("chat") / "target"))


def made(chat, *records, length=512, **options):
    shape = SHAPES["summaries"](Making(chat, length, **options))
    return shape, shape.clean(records, "news.parquet").items


@pytest.mark.parametrize("record", [XSUM, CNN], ids=["XSum", "CNN/DailyMail"])
def test_the_document_is_asked_for_and_the_summary_is_the_answer(chat, record):
    shape, items = made(chat, record)
    ((tokens, mask),) = shape.sequences(items[0])
    text = chat.decode(tokens)
    assert f"{INSTRUCTION}\n\n{DOCUMENT.strip()}<|im_end|>" in text
    labels = chat.decode([token for token, bit in zip(tokens, mask, strict=True) if bit])
    assert labels == (record.get("summary") or record["highlights"]) + "<|im_end|>"
    assert items[0].id == record["id"]


@pytest.mark.parametrize("length", [90, 110, 150])
def test_a_long_document_gives_way_and_the_summary_stays_whole(chat, length):
    shape, items = made(chat, XSUM, length=length)
    ((tokens, mask),) = shape.sequences(items[0])
    assert length - 4 <= len(tokens) <= length
    assert chat.decode([token for token, bit in zip(tokens, mask, strict=True) if bit]) == SUMMARY + "<|im_end|>"
    kept = chat.decode(tokens).partition(INSTRUCTION + "\n\n")[2].partition("<|im_end|>")[0]
    assert kept
    assert DOCUMENT.startswith(kept)
    assert shape.making.changed == {"document shortened": 1}


def test_a_document_is_shortened_until_it_fits(chat):
    shape, _ = made(chat, XSUM)

    def length_of(text):
        return len(chat.encode(text)) + 3 * (text != DOCUMENT)  # what a cut itself adds

    fitting = shape.fitted(DOCUMENT, 50, length_of)
    assert 49 <= length_of(fitting) <= 50
    assert DOCUMENT.startswith(fitting)


def test_a_summary_that_leaves_no_room_for_a_document_gives_no_sequence(chat):
    shape, items = made(chat, XSUM, length=40)
    assert shape.sequences(items[0]) == []


def test_prompts_are_the_question_with_a_document_that_fits(chat):
    shape, items = made(chat, XSUM)
    for most in (60, 100, 500):
        tokens, text = shape.prompt(items[0], 8, most)
        assert len(tokens) <= most
        assert chat.encode(text) == tokens
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
        assert SUMMARY not in text
    assert shape.prompt(items[0], 8, 20) is None
    assert shape.prompt(items[0], 500, 501) is None


def test_summaries_of_one_document_are_one_origin(chat):
    shape, items = made(chat, XSUM, {**XSUM, "id": "b", "summary": "A bridge is shut."}, {**XSUM, "document": "Else."})
    assert shape.origins(items) == ["29750031", "29750031", "29750031#2"]


def test_columns_and_what_is_missing(chat):
    with pytest.raises(StudyError, match=r"news\.parquet: records have the fields document, id, expected document or"):
        made(chat, {"document": "x", "id": "1"})
    record = {"body": DOCUMENT, "tldr": SUMMARY}
    _, items = made(chat, record, columns={"document": "body", "summary": "tldr"})
    assert (items[0].document, items[0].summary) == (DOCUMENT.strip(), SUMMARY)
