"""Model folders as people have them: transformers on the same folder says what is right."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import CHAT_TEMPLATE, conversations, tiny_target
from tokenizers import AddedToken, Tokenizer

from selfdraft.errors import StudyError
from selfdraft.models.llama import load_target
from selfdraft.sources.answers import AnswerMask
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.reference import load_tokenizer, load_transformers
from selfdraft.sources.target import build_target

CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there"}]


def build(source: Path) -> Path:
    out = source.parent / f"{source.name}-out"
    build_target("tiny", {"kind": "path", "path": str(source)}, out, out.parent / "cache")
    return out


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    return tiny_target(tmp_path / "stock")


def same_ids(stock: Path) -> ChatTokenizer:
    """The target's chat tokenizer, after a comparison with transformers'."""
    ours, theirs = ChatTokenizer.from_folder(build(stock)), load_tokenizer(stock)
    text = theirs.apply_chat_template(CHAT[:1], tokenize=False, add_generation_prompt=True) + "the soil " * 90
    assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    assert ours.render(CHAT[:1], add_generation_prompt=True) + "the soil " * 90 == text
    return ours


def test_truncation_and_padding_that_were_saved_are_not_followed(stock):
    tokenizer = Tokenizer.from_file(str(stock / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=16)
    tokenizer.enable_padding(length=16, pad_id=2, pad_token="<|im_end|>")
    tokenizer.save(str(stock / "tokenizer.json"))
    assert len(same_ids(stock).encode("the soil " * 90)) > 90


@pytest.mark.parametrize("file", ["tokenizer_config.json", "added_tokens.json"])
def test_tokens_beside_tokenizer_json_are_taken(tmp_path, file):
    stock = tiny_target(tmp_path / "stock", vocab_size=514)
    (stock / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("<|im_start|>", "<|turn|>"))
    if file == "added_tokens.json":
        (stock / file).write_text('{"<|turn|>": 512}')
    else:
        change(stock / file, added_tokens_decoder={"512": {"content": "<|turn|>", "special": True}})
    same_ids(stock)


def test_special_tokens_of_the_map_reach_the_template(stock):
    (stock / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (stock / "special_tokens_map.json").write_text(
        '{"bos_token": {"content": "<|endoftext|>"}, "eos_token": "<|im_end|>"}'
    )
    (stock / "chat_template.jinja").write_text("{{ bos_token }}" + CHAT_TEMPLATE)
    assert same_ids(stock).render(CHAT).startswith("<|endoftext|><|im_start|>user")


def test_a_token_beyond_the_embedding_is_refused_by_its_name(stock):
    tokenizer = Tokenizer.from_file(str(stock / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<|pad|>", special=True)])
    tokenizer.save(str(stock / "tokenizer.json"))
    with pytest.raises(StudyError, match=r"tokenizer\.json: '<\|pad\|>' is token 512, the model's embedding has 512"):
        build(stock)


@pytest.mark.parametrize("end", [512, -1, "2"])
def test_an_end_that_is_no_token_is_refused(stock, end):
    change(stock / "generation_config.json", eos_token_id=[2, end])
    with pytest.raises(StudyError, match=f"eos_token_id: {end!r} is not a token of the model"):
        build(stock)


def test_a_head_that_is_not_the_embedding_is_kept_though_the_config_says_tied(stock):
    state = load_file(stock / "model.safetensors")
    head = torch.randn(512, 64, generator=torch.Generator().manual_seed(5)).bfloat16()
    save_file({**state, "lm_head.weight": head}, stock / "model.safetensors", metadata={"format": "pt"})
    out, tokens = build(stock), torch.arange(20)[None]
    assert "another lm_head" in json.loads((out / "source.json").read_text())["head"]
    with torch.no_grad():
        ours, theirs = load_target(out, torch.float32)(tokens), load_transformers(stock, torch.float32)(tokens).logits
    assert (ours - theirs).abs().max() < 1e-4


def test_of_two_sets_of_weights_the_one_file_counts_as_in_transformers(stock):
    state = load_file(stock / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in state.items()}, stock / "model-00001-of-00001.safetensors")
    names = {"weight_map": dict.fromkeys(state, "model-00001-of-00001.safetensors")}
    (stock / "model.safetensors.index.json").write_text(json.dumps(names))
    built = load_file(build(stock) / "model.safetensors")
    assert all(torch.equal(built[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["cls_token", "extra_special_tokens"])
def test_any_special_token_with_a_name_reaches_the_template(tmp_path, name):
    stock = tiny_target(tmp_path / "stock", vocab_size=514)
    known = name if name.endswith("_token") else "turn_token"
    change(stock / "tokenizer_config.json", **{name: "<|turn|>" if known == name else {known: "<|turn|>"}})
    (stock / "chat_template.jinja").write_text("{{ " + known + " }}" + CHAT_TEMPLATE)
    assert same_ids(stock).render(CHAT).startswith("<|turn|><|im_start|>user")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_the_machine_that_saved_a_folder_is_not_needed(stock, key):
    change(stock / "config.json", **{key: "flash_attention_2", "use_cache": False, "hidden_act": "swish"})
    assert "flash" not in (build(stock) / "config.json").read_text()


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf"])
def test_weights_that_are_no_numbers_are_refused_by_the_tensors_name(stock, bad):
    state = load_file(stock / "model.safetensors")
    state["model.layers.2.mlp.down_proj.weight"][3, 4] = float(bad)
    save_file(state, stock / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StudyError, match=r"layers\.2\.mlp\.down_proj\.weight: 1 of 8192 weights are NaN or infinite"):
        build(stock)


def test_the_last_check_refuses_a_folder_that_is_read_otherwise(stock, monkeypatch):
    source = json.loads((build(stock) / "source.json").read_text())
    assert source["compared_with_transformers"]["tokens"] > 300
    assert source["compared_with_transformers"]["layers"] == 4
    monkeypatch.setattr("selfdraft.models.rope.attention_scale", lambda rope: 1.05)
    with pytest.raises(StudyError, match="logits differ from transformers' by up to"):
        build(stock)
    monkeypatch.undo()
    monkeypatch.setattr(ChatTokenizer, "encode", lambda self, text: list(self.encoding(text.rstrip()).ids))
    with pytest.raises(StudyError, match=r"tokenizer\.json: .* from token \d+ on; expected the same"):
        build(stock)


def test_the_end_of_the_tokenizer_and_of_the_template_end_an_answer_too(stock):
    for name in ("generation_config.json", "config.json"):
        change(stock / name, eos_token_id=0)
    assert ChatTokenizer.from_folder(stock).eos_ids == [0, 2]  # tokenizer_config.json names <|im_end|>
    change(stock / "tokenizer_config.json", eos_token="<|endoftext|>")
    chat = ChatTokenizer.from_folder(stock)
    assert chat.eos_ids == [0, 2]  # the template writes <|im_end|>
    ids, mask = AnswerMask(chat).tokens(CHAT)
    assert [token for token, bit in zip(ids, mask, strict=True) if bit][-1] == 2


@pytest.mark.parametrize("special", [True, False])
def test_an_end_that_was_added_to_the_vocabulary_is_one_whether_special_or_not(tmp_path, special):
    stock = tiny_target(tmp_path / "stock", vocab_size=514)
    tokenizer = Tokenizer.from_file(str(stock / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("<|over|>", special=special)])
    tokenizer.save(str(stock / "tokenizer.json"))
    change(stock / "generation_config.json", eos_token_id=0)
    change(stock / "tokenizer_config.json", eos_token="<|endoftext|>")
    (stock / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("<|im_end|>", "<|over|>"))
    chat = same_ids(stock)
    assert chat.eos_ids == [0, 512]
    ids, mask = AnswerMask(chat).tokens(CHAT)
    assert [token for token, bit in zip(ids, mask, strict=True) if bit][-1] == 512


def test_white_space_before_the_end_of_an_answer_is_a_label_with_it(stock):
    (stock / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
    )
    chat = ChatTokenizer.from_folder(stock)
    ids, mask = AnswerMask(chat).tokens(CHAT * 2)
    assert chat.decode([t for t, bit in zip(ids, mask, strict=True) if bit]) == "Hi there <|im_end|>" * 2


MARKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content.split('</think>')[-1] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)


def test_a_template_that_marks_answers_gives_the_mask(stock):
    (stock / "chat_template.jinja").write_text(MARKING)
    chat, theirs = ChatTokenizer.from_folder(build(stock)), load_tokenizer(stock)
    messages = [CHAT[0], {"role": "assistant", "content": "<think>so</think>Hi there"}]
    found = theirs.apply_chat_template(messages, return_assistant_tokens_mask=True, return_dict=True)
    assert AnswerMask(chat).tokens(messages) == (found["input_ids"], found["assistant_masks"])


def test_a_mark_in_a_comment_is_none(stock):
    (stock / "chat_template.jinja").write_text("{# {% generation %} is for trainers #}" + CHAT_TEMPLATE)
    chat = ChatTokenizer.from_folder(build(stock))
    ids, mask = AnswerMask(chat).tokens(CHAT)
    assert chat.decode([t for t, bit in zip(ids, mask, strict=True) if bit]) == "Hi there<|im_end|>"


def test_only_chats_that_a_template_changes_or_refuses_are_left_out(stock):
    from selfdraft.sources.shapes.conversations import Conversations
    from selfdraft.sources.shapes.shape import Making

    (stock / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if 'forbidden' in m.content %}{{ raise_exception('no such word') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    )
    records = conversations(20)
    records[3]["conversations"][1]["value"] = "<think>so</think> Yes, do that."
    records[5]["conversations"][1]["value"] = "That is forbidden, I am sorry to say."
    sifted = Conversations(Making(ChatTokenizer.from_folder(stock), 128)).clean(records, "chats")
    assert sifted.dropped == {
        "changed by the chat template": 1,
        "refused by the chat template (no such word)": 1,
    }
    assert len(sifted.items) == 18
    with pytest.raises(StudyError, match="chats: nothing is left: 1 records read, 1 changed by the chat template"):
        Conversations(Making(ChatTokenizer.from_folder(stock), 128)).clean(records[3:4], "chats")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.safetensors.index.json", '{"metadata": {}}', "weight_map: missing"),
        ("tokenizer_config.json", "[]", "found a list, a JSON object is right"),
        ("tokenizer_config.json", '{"chat_template": [{"template": "y"}]}', "expected {name, template}"),
        ("tokenizer_config.json", '{"auto_map": {}}', "auto_map: the tokenizer needs code of its own"),
        ("generation_config.json", "[]", "found a list, a JSON object is right"),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1", "not a tokenizer"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 5}}', "weight_map: missing"),
        ("generation_config.json", '{"watermarking_config": {"x": 5}}', "transformers cannot read it"),
        ("config.json", '{"model_type": "llama", "num_attention_heads": 0}', "transformers cannot read it"),
        ("config.json", '{"model_type": "llama", "hidden_size": "64"}', "'hidden_size' expected int, got str"),
        ("config.json", '{"model_type": "llama", "max_position_embeddings": 0}', "max_position_embeddings: found 0"),
    ],
)
def test_a_folder_that_is_not_read_is_refused_by_file_and_key(stock, file, content, said):
    (stock / file).write_text(content)
    if file == "model.safetensors.index.json":
        (stock / "model.safetensors").rename(stock / "model-00001-of-00001.safetensors")
    with pytest.raises(StudyError, match=rf"{file}.*{said}") as caught:
        build(stock)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("template", ["{% for m in messages %}x", "{% turn %}", "{{ messages | unheard_of }}"])
def test_a_template_that_is_none_is_refused_in_the_sources_name(stock, template):
    (stock / "chat_template.jinja").write_text(template)
    with pytest.raises(StudyError, match=rf"^{re.escape(str(stock))}: chat template: line 1: not a valid template"):
        build(stock)


def test_a_folder_whose_name_is_not_utf8_is_refused_readably(stock):
    odd = stock.rename(stock.parent / os.fsdecode(b"caf\xe9"))
    for source, out in ((odd, odd.parent / "out"), (odd.parent, odd)):
        with pytest.raises(StudyError, match="café: its name is not UTF-8"):
            build_target("tiny", {"kind": "path", "path": str(source)}, out, odd.parent)


def test_an_adapter_alone_is_called_one(stock):
    (stock / "config.json").rename(stock / "adapter_config.json")
    with pytest.raises(StudyError, match="an adapter without its model"):
        build(stock)
