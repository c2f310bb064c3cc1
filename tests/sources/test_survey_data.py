import json

from tiny import conversations, tiny_documents

from selfdraft.sources.survey_data import survey_data


def test_a_file_of_chats_is_told_with_its_roles_drops_and_a_sample(tmp_path):
    rows = [*conversations(20), {"id": "x", "conversations": [{"from": "narrator", "value": "So"}]}]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = "\n".join(survey_data(tmp_path / "chats.jsonl"))
    assert "data of shape conversations: 21 records" in said
    assert "narrator (1)" in said
    assert "kept: 20 (any language); dropped: 1 unknown role narrator" in said
    assert f"assistant: [{rows[0]['conversations'][1]['value'][:20]}" in said


def test_texts_and_unknown_fields_are_told(tmp_path):
    assert "data of shape text: 30 records" in survey_data(tiny_documents(tmp_path / "texts"))[0]
    (tmp_path / "odd.jsonl").write_text('{"foo": 1}\n')
    said = survey_data(tmp_path / "odd.jsonl")
    assert "shape unknown" in said[0]
    assert said[1] == "fields: foo (1)"
