import json

from tiny import conversations, tiny_documents, tiny_target

from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.survey_data import survey_data


def test_a_file_of_chats_is_told_with_its_roles_drops_and_a_sample(tmp_path):
    rows = [*conversations(20), {"id": "x", "conversations": [{"from": "narrator", "value": "So"}]}]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = "\n".join(survey_data(tmp_path / "chats.jsonl"))
    assert "data of shape conversations: 21 records" in said
    assert "narrator (1)" in said
    assert "kept: 20 (any language); dropped: 1 unknown role narrator" in said
    assert f"assistant: [{rows[0]['conversations'][1]['value'][:20]}" in said


def test_a_targets_template_formats_the_sample_with_its_label_mask(tmp_path):
    (tmp_path / "chats.json").write_text(json.dumps(conversations(3)))
    question, answer = (turn["value"] for turn in conversations(1)[0]["conversations"][:2])
    *_, said = survey_data(tmp_path / "chats.json", ChatTokenizer.from_folder(tiny_target(tmp_path / "target")))
    assert said.startswith(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n[{answer}<|im_end|>]\n")


def test_texts_and_unknown_fields_are_told(tmp_path):
    assert "data of shape text: 30 records" in next(survey_data(tiny_documents(tmp_path / "texts")))
    (tmp_path / "odd.jsonl").write_text('{"foo": 1}\n')
    said = list(survey_data(tmp_path / "odd.jsonl"))
    assert "shape unknown" in said[0]
    assert said[1] == "fields: foo (1)"
