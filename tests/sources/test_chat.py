from datetime import datetime
from pathlib import Path

import pytest
from tiny import tiny_target
from tokenizers import Tokenizer

from selfdraft.errors import StudyError
from selfdraft.sources.chat import ChatTokenizer, compile_template

MESSAGES = [
    {"role": "user", "content": "What's <b>2 & 2</b>?\n\n1. “ünï”"},
    {"role": "assistant", "content": "It is 4.\n"},
    {"role": "user", "content": " Thanks 🙂"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_target(tmp_path / "target")


def same_as_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    chat, stock = ChatTokenizer.from_folder(folder), AutoTokenizer.from_pretrained(str(folder))
    for messages in (MESSAGES, MESSAGES[:1], [{"role": "system", "content": "Be short."}, *MESSAGES]):
        for prompt in (False, True):
            text = stock.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
            ids = stock.apply_chat_template(messages, add_generation_prompt=prompt, return_dict=False)
            assert chat.render(messages, add_generation_prompt=prompt) == text
            assert chat.encode(text) == ids
            assert chat.decode(ids) == text


def test_text_and_tokens_equal_transformers_on_a_tiny_target(folder):
    same_as_transformers(folder)


def test_text_and_tokens_equal_transformers_on_the_real_target(real_target):
    same_as_transformers(real_target)


def test_helpers_of_templates_equal_transformers(folder):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = (
        "{%- for m in messages %}\n  {%- if m.role == 'assistant' %}{% continue %}{% endif %}\n"
        "    {% if true %}\n{{ m | tojson }}{{ {'é': [1, '<']} | tojson(indent=2) }}\n    {% endif %}\n{%- endfor %}\n"
    )
    expected, _ = render_jinja_template([MESSAGES], chat_template=template)
    assert [compile_template(template, "t").render(messages=MESSAGES)] == expected


def test_the_date_of_a_template_can_be_fixed(folder):
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}{{ bos_token }}")
    assert ChatTokenizer.from_folder(folder, today=datetime(2024, 7, 26)).render([]) == "26 Jul 2024<|im_start|>"
    assert ChatTokenizer.from_folder(folder).render([]).startswith(datetime.now().strftime("%d %b %Y"))


def test_a_template_that_refuses_says_so_in_its_own_words(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(StudyError, match=r"chat_template\.jinja: refuses these messages: roles must alternate"):
        ChatTokenizer.from_folder(folder).render(MESSAGES)


def test_a_template_runs_in_a_sandbox(folder):
    (folder / "chat_template.jinja").write_text("{{ messages.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(StudyError, match="refuses"):
        ChatTokenizer.from_folder(folder).render(MESSAGES)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("chat_template.jinja", None, "file not found; the tokenizer has no chat template"),
        ("chat_template.jinja", "{% for %}", "line 1: not a valid template"),
        ("tokenizer.json", None, "file not found"),
        ("tokenizer.json", '{"version"', "not a tokenizer"),
        ("tokenizer_config.json", "{", "not valid JSON"),
    ],
)
def test_a_broken_folder_names_the_file(folder, file, content, said):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(StudyError, match=f"{file}: {said}"):
        ChatTokenizer.from_folder(folder)


@pytest.mark.parametrize(
    ("generation", "expected"), [('{"eos_token_id": 2}', [2]), ('{"eos_token_id": [0, 2]}', [0, 2]), ("{}", [2])]
)
def test_answers_end_where_the_generation_config_says(folder, generation, expected):
    (folder / "generation_config.json").write_text(generation)
    assert ChatTokenizer.from_folder(folder).eos_ids == expected


def test_special_tokens_are_named(folder):
    chat = ChatTokenizer.from_folder(folder)
    assert chat.special_tokens == ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
    assert isinstance(chat.tokenizer, Tokenizer)
    assert chat.decode(chat.encode("<|im_start|>Hi<|im_end|>"), skip_special_tokens=True) == "Hi"
