from pathlib import Path

import pytest
from tiny import conversations, tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.answers import AnswerMask
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.cleaning import clean_records

LLAMA_LIKE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if loop.last and m.role == 'assistant' %}"
    "<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
)
AWKWARD = [
    {"role": "user", "content": "user"},
    {"role": "assistant", "content": "assistant"},
    {"role": "user", "content": "1. assistant\nuser"},
    {"role": "assistant", "content": "🙂 1\n\n2 “é”"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_target(tmp_path / "target")


def answers(folder: Path, messages: list[dict[str, str]]) -> tuple[list[str], str]:
    """The masked stretches, decoded, and the whole text."""
    chat = ChatTokenizer.from_folder(folder)
    tokens, mask = AnswerMask(chat).tokens(messages)
    assert len(tokens) == len(mask)
    stretches: list[list[int]] = []
    for token, bit, before in zip(tokens, mask, [0, *mask], strict=False):
        if bit and not before:
            stretches.append([])
        if bit:
            stretches[-1].append(token)
    return [chat.decode(stretch) for stretch in stretches], chat.decode(tokens)


def expected(messages: list[dict[str, str]]) -> list[str]:
    return [m["content"] + "<|im_end|>" for m in messages if m["role"] == "assistant"]


def test_the_mask_decodes_back_to_the_answers_with_their_end(folder):
    records = clean_records(conversations(40, seed=5), [], True, "tiny").items
    for row in records:
        assert answers(folder, list(row.messages))[0] == expected(list(row.messages))


@pytest.mark.parametrize("template", [None, LLAMA_LIKE, THINKING])
def test_awkward_answers_are_found_in_any_template(folder, template):
    if template:
        (folder / "chat_template.jinja").write_text(template)
    found, text = answers(folder, AWKWARD)
    assert found == expected(AWKWARD)
    assert text == ChatTokenizer.from_folder(folder).render(AWKWARD)


def test_the_real_target_masks_answers_too(real_target):
    assert answers(real_target, AWKWARD)[0] == expected(AWKWARD)


def test_a_template_that_rewrites_turns_is_refused(folder):
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    with pytest.raises(StudyError, match="changes the text of turns"):
        answers(folder, AWKWARD)


def test_a_template_that_leaves_out_turns_is_refused(folder):
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    with pytest.raises(StudyError, match="leaves out turns"):
        answers(folder, AWKWARD)
