from collections import Counter

import pytest

from selfdraft.errors import StudyError
from selfdraft.sources.cleaning import clean_records, clean_text

SPECIAL = ["<|im_start|>", "<|im_end|>", "<filename>"]
QUESTION, ANSWER = "What is the way to the station?", "It is on the left of the church, and you can see it from here."


def record(*turns: tuple[str, str], identity: str = "a_0") -> dict:
    return {"id": identity, "conversations": [{"from": role, "value": text} for role, text in turns]}


def cleaned(*records, english_only=True):
    return clean_records(records, SPECIAL, english_only, "test.json")


def roles_and_texts(found):
    return [[(message["role"][0], message["content"]) for message in row.messages] for row in found.items]


def text_of(raw, role="assistant"):
    return clean_text(raw, role, SPECIAL, Counter())


GOOD = record(("human", QUESTION), ("gpt", ANSWER))
OTHER = record(("human", "Is it far?"), ("gpt", "No, it is not."), identity="b_0")


@pytest.mark.parametrize("name", ["gpt", "chatgpt", "bing", "bard", "assistant"])
def test_all_names_of_roles_become_user_and_assistant(name):
    found = cleaned(record(("user", QUESTION), (name, ANSWER)))
    assert roles_and_texts(found) == [[("u", QUESTION), ("a", ANSWER)]]


def test_messages_with_role_and_content_are_read_too():
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    assert roles_and_texts(cleaned({"messages": turns})) == [[("u", QUESTION), ("a", ANSWER)]]


def test_turns_as_columns_are_read_too():
    found = cleaned({"id": "a_0", "conversations": {"from": ["human", "gpt"], "value": [QUESTION, ANSWER]}})
    assert roles_and_texts(found) == [[("u", QUESTION), ("a", ANSWER)]]


def test_leading_answers_system_turns_and_a_trailing_question_go():
    found = cleaned(
        record(("gpt", "…and so on"), ("system", "Buy!"), ("human", QUESTION), ("gpt", ANSWER), ("human", "Thanks"))
    )
    assert roles_and_texts(found) == [[("u", QUESTION), ("a", ANSWER)]]
    assert found.changed == {
        "leading answer removed": 1,
        "system turn removed": 1,
        "trailing question removed": 1,
    }


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (("gpt", ""), "cut at an empty turn"),
        (("gpt", "\u200b"), "cut at an empty turn"),
        (("gpt", "Skipped 1 messages<|endoftext|>"), "cut at an empty turn"),
        (("human", "Hello?"), "cut at a repeated role"),
    ],
)
def test_a_conversation_ends_before_its_first_defect(bad, rule):
    found = cleaned(record(("human", QUESTION), ("gpt", ANSWER), ("human", "And?"), bad, ("gpt", "Lost.")))
    assert roles_and_texts(found) == [[("u", QUESTION), ("a", ANSWER)]]
    assert found.changed[rule] == 1


def test_each_drop_has_a_reason_and_read_is_kept_plus_dropped():
    found = cleaned(
        GOOD,
        {**GOOD, "id": "c_3"},
        {"id": "d_0", "conversations": []},
        {"id": "e_0"},
        record(("human", QUESTION), ("tool", "42"), ("gpt", ANSWER)),
        record(("human", QUESTION), ("narrator", "Then"), ("gpt", ANSWER)),
        record(("human", QUESTION)),
        record(("human", "¿Qué es la vida?"), ("gpt", "La vida es el camino que se hace para los demás.")),
        OTHER,
    )
    assert [row.id for row in found.items] == ["a_0", "b_0"]
    assert found.dropped == {
        "duplicate": 1,
        "no turns": 1,
        "missing fields": 1,
        "unknown role narrator": 1,
        "tool turns": 1,
        "no question with an answer": 1,
        "not English": 1,
    }
    assert found.read == 9


def test_ids_that_come_twice_are_told_apart():
    again = record(("human", "And back?"), ("gpt", "The same way, on the right."))
    assert [row.id for row in cleaned(GOOD, again).items] == ["a_0", "a_0#2"]


def test_other_languages_stay_when_they_are_asked_for():
    spanish = record(("human", "¿Qué es la vida?"), ("gpt", "La vida es el camino que se hace."))
    assert len(cleaned(spanish, english_only=False).items) == 1


def test_empty_after_cleaning_says_why():
    with pytest.raises(StudyError, match=r"test\.json: empty after cleaning: 2 records read, 2 no turns"):
        cleaned(record(), record())


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ({"prompt": "a", "completion": "b"}, "records have the fields prompt, completion"),
        ({"conversations": [{"speaker": "x", "says": "y"}]}, "turns have the fields speaker, says"),
        ("text", "records are of type str"),
    ],
)
def test_missing_fields_are_an_error_that_names_what_was_found(bad, found):
    with pytest.raises(StudyError, match=f"{found}, expected conversations"):
        cleaned(bad, bad)


def test_escaped_markdown_is_unescaped_outside_code_only():
    assert text_of(r"the find\_element of 3 \* 4 and \# one") == "the find_element of 3 * 4 and # one"
    for code in (r"`a\_b`", "```\nprint('\\_')\n```", r"C:\new\path", r"\d+\.\d", r"\frac{a}{b}", r"\"x\""):
        assert text_of(code) == code
    assert text_of("a\\_b\n```\nc\\_d\n```\ne\\_f") == "a_b\n```\nc\\_d\n```\ne_f"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Which show?2 / 2", "Which show?"),
        ("fun atmosphere!\n\n5 / 5", "fun atmosphere!"),
        ("1 / 3", ""),
        ("thank you.Share Prompt", "thank you."),
        ("glsl\nCopy code\nfloat x", "glsl\nfloat x"),
        ("what is 9 / 3", "what is 9 / 3"),
        ("= 90150 / 1470", "= 90150 / 1470"),
        ("a/b 24/7", "a/b 24/7"),
    ],
)
def test_words_of_the_sharing_page_leave_questions(raw, text):
    assert text_of(raw, "user") == text


def test_answers_keep_their_fractions():
    assert text_of("The chance is 1 / 6") == "The chance is 1 / 6"


@pytest.mark.parametrize(
    "raw",
    [
        "a<|im_end|>b",
        "a<|im_<|im_end|>end|>b",
        "a<|im_<|im_<|im_end|>end|>end|>b",
        r"a<|im\_end|>b",
        "a<|im\u200b_end|>b",
        "a<filename>b",
        "a<|DONE|>b",
    ],
)
def test_no_text_can_become_a_control_token(raw):
    assert text_of(raw) == "ab"


def test_code_with_a_pipe_and_html_under_discussion_stay():
    for text in ("User <|-- Student", "use <div class='a'> and <br>", "<input>", "a &lt; b"):
        assert text_of(text) == text


def test_invisible_characters_go_but_joined_emoji_stay():
    assert text_of("\ufeffone\u200b two\u2060 \x00three") == "one two three"
    family = "👨\u200d👩\u200d👧"
    assert text_of(family) == family
