"""A model folder is told in a few lines before anything is run, one that is not supported with every reason."""

import json

import pytest
from tiny import tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.survey_model import survey_model


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_model_is_told_with_its_ends_its_template_and_what_is_not_applied(tmp_path):
    stock = tiny_target(tmp_path / "stock", vocab_size=520, model_type="mistral", sliding_window=64)
    change(stock / "generation_config.json", eos_token_id=0, repetition_penalty=1.1, do_sample=True)
    said = list(survey_model(stock))
    assert said[1].startswith("  family: mistral, 4 layers, hidden 64, ")
    assert said[2] == "  head: the embedding itself (tied), 520 rows for 512 tokens"
    assert said[3] == "  rope: default; context 64 tokens, where 4 layers begin to slide"
    assert said[4] == "  answers end with: <|endoftext|> (0), <|im_end|> (2)"
    assert said[5].startswith("  chat template: ")
    assert said[6].endswith("<|im_start|>assistant\n[Hi there.<|im_end|>]")
    assert said[7].startswith("  not applied: repetition_penalty 1.1 of generation_config.json")
    assert said[8].startswith("  unsupported: nothing found")


def test_all_that_a_folder_is_refused_for_is_said_at_once(tmp_path):
    stock = tiny_target(tmp_path / "stock")
    change(stock / "config.json", model_type="phi3")
    (stock / "chat_template.jinja").unlink()
    (stock / "model.safetensors").rename(stock / "pytorch_model.bin")
    said = []
    with pytest.raises(StudyError, match="model_type: 'phi3' is not supported"):  # what `target` says
        said.extend(survey_model(stock))
    assert "is a pickle and never read" in said[1]
    assert "has no chat template" in said[2]
    assert said[3] == "  model_type phi3, num_hidden_layers 4, hidden_size 64, vocab_size 512"
