"""`selfdraft dvi` on a tiny study: what it leaves, what a kill at any moment changes (nothing), what it refuses."""

import json
import random
import shutil

import pytest
from safetensors.torch import load_file
from training.runs import dispatch_stage, kill, prepare, stage, start, wait_for

from selfdraft.cli import main

SETTINGS = ("--exit-layer", 1, "--capacity", "translator", "--fast-batch", 3, "--max-new-tokens", 12, "--warmup", 4)
KILLS = 3


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with target, data, and a draft that learnt without interruption."""
    folder = tmp_path_factory.mktemp("dvi")
    prepare(folder)
    stage(*words(folder, "whole", "--draft", "sample", "--evaluate-every", 4))
    return folder


def words(folder, out, *more):
    common = ["--target", folder / "target", "--data", folder / "data", "--dtype", "float32", "--prompts", 10]
    return ["dvi", *common, *SETTINGS, "--out-dir", folder / out, *more]


def log_of(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def without_seconds(row):
    return {name: value for name, value in row.items() if not name.endswith("_s")}


def test_it_leaves_a_checkpoint_a_log_and_what_it_found(study, capsys):
    folder = study / "whole"
    config, results = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "results"))
    assert (config["drafter"], config["share"], config["lossless_against"]) == ("dvi", "head", "base")
    log = log_of(folder)
    assert [line["step"] for line in log] == list(range(1, len(log) + 1))
    assert results["updates"] == len(log) > 5
    assert results["tokens"] == config["training_tokens"] <= 120
    assert [found["prompts"] for found in results["evaluations"]] == [0, 4, 8, 10]
    assert [found["updates"] for found in results["evaluations"]][::3] == [0, len(log)]
    first, last = results["evaluations"][0], results["evaluations"][-1]
    assert first["by_prompt"].keys() == last["by_prompt"].keys()
    gain = last["accepted_mean"] - first["accepted_mean"]
    assert results["accepted_mean_gain"] == pytest.approx(gain)
    assert results["buffer_bytes"] == 2048 * (2 * 64 * 4 + 44)
    assert results["broken"] is None
    assert (config["kind"], config["training_seconds"]) == ("dvi", results["learning_s"])
    assert results["stream"] == [["tiny", 10]]
    dispatch_stage(
        "generate", "--prompt", "How?", "--target", study / "target", "--checkpoint", folder, "--dtype", "float32",
        "--max-new-tokens", 6,
    )  # fmt: skip
    assert "layer 1 translator, gamma 4" in capsys.readouterr().out


def test_killed_at_any_moment_and_started_again_it_ends_the_same(study):
    state = study / "state" / "killed.safetensors"
    more = ("--draft", "sample", "--evaluate-every", 4, "--state", state, "--save-prompts", 1)
    moments, kills, resumed = random.Random(0), 0, 0
    for attempt in range(20):
        process = start(words(study, "killed", *more))
        before = state.stat().st_mtime_ns if state.exists() else 0
        resumed += before > 0
        wanted, seen = moments.randint(1, 3), set()

        def enough(seen=seen, wanted=wanted, before=before):
            if state.exists() and (now := state.stat().st_mtime_ns) != before:
                seen.add(now)
            return len(seen) >= wanted

        def saving():
            return any(state.parent.glob(f".{state.name}.*"))

        if kills >= KILLS or not wait_for(saving if attempt % 2 else enough, process, 600):
            break
        kill(process)
        kills += 1
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert kills >= 2
    assert resumed >= 2
    whole, killed = study / "whole", study / "killed"
    assert (whole / "draft.safetensors").read_bytes() == (killed / "draft.safetensors").read_bytes()
    assert list(map(without_seconds, log_of(whole))) == list(map(without_seconds, log_of(killed)))
    ours, theirs = (json.loads((folder / "results.json").read_text())["evaluations"] for folder in (whole, killed))
    assert [found["by_prompt"] for found in ours] == [found["by_prompt"] for found in theirs]
    assert not state.exists()


def test_what_breaks_leaves_the_draft_of_before_and_says_so(study, capsys):
    out = study / "broken"
    assert main([*map(str, words(study, "broken", "--learning-rate", 1e38, "--objective", "kl"))]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("selfdraft dvi: error: update ")
    assert error.endswith(f"lower the learning rate; {out} has the draft as it was before")
    results = json.loads((out / "results.json").read_text())
    assert results["broken"]
    assert len(log_of(out)) == results["updates"]


def test_a_stream_may_change_and_a_draft_may_stay_as_it_is(study):
    dispatch_stage(*words(study, "frozen", "--objective", "none", "--prompts", 3, "--then", study / "data"))
    results = json.loads((study / "frozen/results.json").read_text())
    assert (results["updates"], results["accepted_mean_gain"], len(results["served"])) == (0, 0.0, 6)
    # the same prompts again, and so the same answers
    assert results["served"][:3] == results["served"][3:]
    assert sum(tokens for _, _, tokens in results["served"]) == results["tokens"]
    assert log_of(study / "frozen") == []


def test_it_starts_from_a_trained_exit_and_is_measured_beside_it(study):
    whole = study / "whole"
    more = ("--initial", whole, "--beside", whole, "--learning-rate", 0.0, "--name", "mine")
    dispatch_stage(*without_layer(study, "second", *more))
    found = json.loads((study / "second/results.json").read_text())
    (beside,) = found["beside"]
    assert (beside["name"], beside["training_tokens"]) == ("whole", 120)
    assert beside["by_prompt"] == found["evaluations"][0]["by_prompt"] == found["evaluations"][-1]["by_prompt"]
    one, two = (load_file(study / name / "draft.safetensors") for name in ("whole", "second"))
    assert all((one[name] == two[name]).all() for name in one)


def test_split_leaves_its_adapter_beside_the_checkpoint_and_may_be_made_again(study, capsys):
    asked = words(study, "split", "--share", "split", "--rank", 4, "--prompts", 2, "--fast-batch", 2)
    at = asked.index("--capacity")
    for _ in range(2):  # the second time over the first one's folder
        dispatch_stage(*asked[:at], *asked[at + 2 :])
    folder = study / "split"
    config = json.loads((folder / "config.json").read_text())
    assert (config["capacity"], config["share"], config["lossless_against"]) == ("lora", "split", "base")
    assert json.loads((folder / "results.json").read_text())["updates"] > 0
    assert sorted(path.name for path in (folder / "lora_S").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    dispatch_stage(
        "generate", "--prompt", "How?", "--target", study / "target", "--checkpoint", folder, "--dtype", "float32",
        "--max-new-tokens", 6,
    )  # fmt: skip
    assert "layer 1 lora, gamma 4" in capsys.readouterr().out
    again = [*asked[:at], *asked[at + 2 :], "--initial", folder]
    layer = again.index("--exit-layer")
    del again[layer : layer + 2], again[again.index("--rank") : again.index("--rank") + 2]
    assert main([*map(str, again)]) == 2
    assert f"--initial: {folder} has its LoRA merged" in capsys.readouterr().err


def test_shared_leaves_both_adapters_and_the_model_that_they_make(study, capsys):
    asked = words(study, "shared", "--share", "shared", "--rank", 4, "--prompts", 2, "--slow-every", 1)
    asked += ["--fast-batch", 2, "--learning-rate", 0.01, "--slow-learning-rate", 0.01]
    at = asked.index("--capacity")
    dispatch_stage(*asked[:at], *asked[at + 2 :])
    folder = study / "shared"
    config, results = (json.loads((folder / f"{name}.json").read_text()) for name in ("config", "results"))
    assert (config["capacity"], config["share"], config["lossless_against"]) == ("norm", "shared", "adapted")
    assert config["base"]["fingerprint"] != config["target"]["fingerprint"]
    assert all(line["loss_slow"] > 0 for line in log_of(folder))
    first, last = results["evaluations"][0], results["evaluations"][-1]
    assert abs(first["drift_kl"]) < 1e-4 < last["drift_kl"]
    assert {"drift_kl_low", "perplexity", "perplexity_high"} <= last.keys()
    assert {path.name for path in folder.iterdir()} >= {"lora_S", "lora_D", "target", "draft.safetensors"}
    generate = ["generate", "--prompt", "How?", "--checkpoint", folder, "--dtype", "float32", "--max-new-tokens", 6]
    dispatch_stage(*generate, "--target", folder / "target")
    assert "layer 1 norm, gamma 4" in capsys.readouterr().out
    assert main([*map(str, generate), "--target", str(study / "target")]) == 2
    assert "trained on another target" in capsys.readouterr().err


def test_a_text_that_is_learnt_from_again_has_one_range_of_angles(study, capsys):
    """With LongRoPE a longer text has other angles from its first token on than its beginning that is run again."""
    config = json.loads((study / "target/config.json").read_text())
    half = (config["hidden_size"] // config["num_attention_heads"]) // 2
    rope = {"rope_type": "longrope", "short_factor": [1.0] * half, "long_factor": [2.0] * half, "rope_theta": 1e4}
    shutil.copytree(study / "target", study / "long")
    rope["original_max_position_embeddings"] = 40
    (study / "long/config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
    asked = without_capacity(study, "angles", "--share", "split", "--prompts", 1, "--target", study / "long")
    assert main([*map(str, asked)]) == 2
    error = capsys.readouterr().err
    assert "the stream is empty" in error
    assert "has at most 24 tokens" in error  # 40, less 12 new ones and 4 drafted
    rope["original_max_position_embeddings"] = 400
    (study / "long/config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
    dispatch_stage(*asked)


def without_capacity(study, out, *more):
    chosen = words(study, out, *more)
    at = chosen.index("--capacity")
    return chosen[:at] + chosen[at + 2 :]


def without_layer(study, out, *more):
    chosen = words(study, out, *more)
    at = chosen.index("--exit-layer")
    return chosen[:at] + chosen[at + 4 :]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--exit-layer", 4), "--exit-layer: layer 4 is not a layer of the target (0…3)"),
        (("--exit-layer", -1), "--exit-layer: layer -1 is not a layer of the target (0…3)"),
        (("--capacity", "lens"), "--capacity: 'lens' is unknown; one of norm"),
        (("--capacity", "head_block"), "--capacity: head_block does not go with share head; one of norm"),
        (("--capacity", "lora"), "--capacity: lora does not go with share head; one of norm"),
        (("--share", "split"), "--capacity: translator does not go with share split; one of lora is right"),
        (("--share", "half"), 'share: "half" is not known; known are head, split, shared'),
        (("--share", "shared"), "--capacity: translator does not go with share shared; one of lora is right"),
        (
            ("--share", "shared", "--capacity", "lora", "--exit-layer", 3),
            "--exit-layer: 3 is the last layer; share shared needs layers behind the exit",
        ),
        (
            ("--share", "shared", "--capacity", "lora", "--beside", "WHOLE"),
            "--beside: does not go with share shared",
        ),
        (("--beta-kl", -1), "beta_kl: -1.0 is not ≥ 0"),
        (("--slow-every", -1), "slow_every: -1 is not ≥ 0"),
        (("--slow-every", 4), "--slow-every: share shared alone uses it; this is share head, leave it out"),
        (("--beta-kl", 1), "--beta-kl: share shared alone uses it; this is share head, leave it out"),
        (
            ("--share", "split", "--slow-learning-rate", 1e-6),
            "--slow-learning-rate: share shared alone uses it; this is share split, leave it out",
        ),
        (("--rank", 4), "--rank: translator has none; low_rank_head and "),
        (("--batch", 0), "batch: 0 is not ≥ 1"),
        (("--fast-batch", 0), "fast_batch: 0 is not ≥ 1"),
        (("--buffer", 0), "buffer: 0 is not ≥ 1"),
        (("--baseline-momentum", 1), "baseline_momentum: 1.0 is not in [0, 1)"),
        (("--objective", "rl"), 'objective: "rl" is not known; known are composite'),
        (("--prompts", 500), "--prompts: 500 asked, "),
        (("--held-out-prompts", 500), "--held-out-prompts: 500 asked, "),
        (("--then", "nowhere"), "nowhere/prompts.json: file not found"),
        (("--max-new-tokens", 508), "--data: "),
        (("--initial", "WHOLE", "--exit-layer", 2), "--exit-layer: 2, but --initial "),
        (("--initial", "WHOLE", "--capacity", "norm"), "--capacity: norm, but --initial "),
        (("--initial", "WHOLE", "--rank", 3), "--rank: does not go with --initial"),
        (("--initial", "target"), ""),
    ],
)
def test_what_cannot_be_is_one_line(study, capsys, more, message):
    more = [study / "whole" if word == "WHOLE" else word for word in more]
    assert main([*map(str, words(study, "wrong", *more))]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert error.startswith(f"selfdraft dvi: error: {message}")
    assert not (study / "wrong").exists()


def test_a_checkpoint_of_another_target_is_refused(study, capsys):
    other = study / "other"
    shutil.copytree(study / "whole", other)
    config = json.loads((other / "config.json").read_text())
    config["target"]["fingerprint"] = "0" * 16
    (other / "config.json").write_text(json.dumps(config))
    assert main([*map(str, without_layer(study, "wrong", "--initial", other))]) == 2
    assert "trained on another target: its fingerprint is" in capsys.readouterr().err
