"""Questions without answers: MT-Bench's, HumanEval's and Spec-Bench's rows in small."""

import pytest
from tiny import tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.shapes import SHAPES
from selfdraft.sources.shapes.prompts import CODE_INSTRUCTION
from selfdraft.sources.shapes.shape import Making

CODE = 'def add(a, b):\n    """Return the sum.\n    >>> add(1, 2)\n    3\n    """\n'
MT_BENCH = {"question_id": 81, "category": "writing", "turns": ["Write about a trip.", "Now make it shorter."]}
SPEC_BENCH = {"question_id": 241, "category": "translation", "turns": ["Translate German to English: Guten Tag"]}
HUMAN_EVAL = {
    "task_id": "HumanEval/23",
    "prompt": "\n\n" + CODE,
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    return ChatTokenizer.from_folder(tiny_target(tmp_path_factory.mktemp("chat") / "target"))


def made(chat, *records, **options):
    shape = SHAPES["prompts"](Making(chat, 0, **options))
    return shape, shape.clean(records, "questions.jsonl")


@pytest.mark.parametrize(
    ("record", "identity", "text"),
    [
        (MT_BENCH, "81", "Write about a trip."),
        (SPEC_BENCH, "241", "Translate German to English: Guten Tag"),
        (HUMAN_EVAL, "HumanEval/23", f"{CODE_INSTRUCTION}\n\n```python\n{CODE.strip()}\n```"),
        ({"prompt": "Why?"}, "record0", "Why?"),
        ({"question": "Why?", "answer": "42"}, "record0", "Why?"),
        ({"instruction": "Add.", "input": "1 and 2", "output": "3"}, "record0", "Add.\n\n1 and 2"),
        ({"instruction": "Wait.", "input": "", "output": "…"}, "record0", "Wait."),
        ({"prompt": [{"role": "system", "content": "Hm."}, {"role": "user", "content": "Why?"}]}, "record0", "Why?"),
        ({"messages": [{"role": "USER", "content": [{"type": "text", "text": "Why?"}]}]}, "record0", "Why?"),
        ({"conversations": [{"from": "gpt", "value": "Hm."}, {"from": "human", "value": "Why?"}]}, "record0", "Why?"),
    ],
)
def test_the_first_question_goes_through_the_template(chat, record, identity, text):
    shape, found = made(chat, record)
    assert [item.id for item in found.items] == [identity]
    tokens, prompt = shape.prompt(found.items[0], 1, 500)
    assert prompt == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    assert chat.encode(prompt) == tokens


def test_a_question_of_another_length_is_not_cut_but_left_out(chat):
    shape, found = made(chat, HUMAN_EVAL)
    length = len(shape.prompt(found.items[0], 1, 500)[0])
    assert shape.prompt(found.items[0], length, length) is not None
    assert shape.prompt(found.items[0], 1, length - 1) is None
    assert shape.prompt(found.items[0], length + 1, 500) is None


def test_there_is_nothing_to_train_on(chat):
    shape, found = made(chat, MT_BENCH)
    assert shape.sequences(found.items[0]) == []


def test_formulas_are_no_foreign_language_but_foreign_questions_are(chat):
    formula = {"prompt": "x+y = 4z, x*y = 4z^2, express x-y in z"}
    spanish = {"prompt": "¿Por qué el perro de la casa no es grande, y el gato que se ve es de los vecinos?"}
    chinese = {"prompt": "为什么天空是蓝色的"}
    assert len(made(chat, formula)[1].items) == 1
    assert made(chat, formula, spanish, chinese)[1].dropped["not English"] == 2


def test_a_file_without_questions_says_what_it_has(chat):
    with pytest.raises(
        StudyError, match=r"questions\.jsonl: records have the fields text, expected turns or prompt or"
    ):
        made(chat, {"text": "x"})
    _, found = made(chat, {"task": "Why?"}, columns={"prompt": "task"})
    assert found.items[0].text == "Why?"
