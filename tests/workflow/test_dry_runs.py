"""The workflow plans every config, and tells a wrong one in one line before anything runs."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from selfdraft.cli import parser_of
from selfdraft.study.drawing import PAPER_FIGURES

ROOT = Path(__file__).resolve().parents[2]
FULL = ["--configfile", "profiles/slurm-gh200/config.yaml"]
SLURM = ["--workflow-profile", "profiles/slurm-gh200"]


@pytest.fixture(scope="module")
def default(study):
    """The jobs of the default study on two cores, by rule."""
    return study.to_do("--cores", "2")


def test_the_default_study_is_one_job_a_checkpoint_a_group_of_drafts_a_policy_and_a_figure(default):
    jobs = default
    assert {name: jobs[name] for name in ("target", "data", "capture", "machine", "results")} == {
        "target": 1,
        "data": 1,
        "capture": 1,
        "machine": 1,
        "results": 1,
    }
    # four layers at T = 1, three of them without a step, one at two more temperatures and with two more seeds; others.
    # Of one layer and of the others there are more points than a job of acceptance measures.
    assert (jobs["train"], jobs["quality"], jobs["acceptance"], jobs["speed"]) == (21, 11, 12 + 1 + 2, 2)
    assert (jobs["domain_data"], jobs["domain_prompts"], jobs["domain_capture"]) == (1, 2, 1)
    assert (jobs["domain_quality"], jobs["domain_acceptance"]) == (1, 4)
    assert sum(name.startswith("figure_") for name in jobs) == 15


def test_work_in_parts_is_a_job_a_part(study_at, tmp_path, default):
    study = study_at(tmp_path / "study")
    study.configure(("shards", 3))
    parts = study.to_do("--cores", "2")
    cut = {"acceptance", "domain_acceptance", "speed"}
    assert {name: (3 if name in cut else 1) * jobs for name, jobs in default.items()} == parts
    done = study.snakemake("--dry-run", "--printshellcmds", "results/raw/speed/t0.7_part2of3.csv")
    assert " --shard 2/3 " in done.output


def test_a_group_of_more_points_than_a_job_measures_has_several_jobs(study_at, tmp_path):
    study = study_at(tmp_path / "study")
    study.configure(("points_a_job", 3))
    done = study.snakemake("--dry-run", "--printshellcmds", "results/acceptance.csv")
    asked = re.findall(r"--points '({.*?})' --policies", done.output)
    own = [
        json.loads(text)
        for text, data in zip(asked, re.findall(r"acceptance --target .*? --data (\S+)", done.output), strict=True)
        if data.endswith("/sharegpt")
    ]
    sizes = sorted(sum(map(len, points.values())) for points in own)
    assert sum(sizes) == 56
    assert (max(sizes), len(sizes)) == (3, 25)
    measured = [(policy, *point) for points in own for policy, found in points.items() for point in found]
    assert len(set(measured)) == 56


def test_without_other_text_there_is_no_job_for_it_and_no_figure(study_at, tmp_path):
    study = study_at(tmp_path / "study")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    del config["domains"]
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    assert not any("domain" in name for name in study.to_do("--cores", "2"))


def test_a_teacher_of_its_own_is_fetched_and_online_training_needs_no_kept_states(study_at, tmp_path):
    study = study_at(tmp_path / "study")
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["teacher"] = {"name": "large", "source": {"kind": "path", "path": "large"}}
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    planned = study.snakemake("--dry-run", "--printshellcmds", "results/checkpoints/layer6_T1.0_head/draft.safetensors")
    assert planned.returncode == 0, planned.output
    assert re.search(r"Train head after layer 6.*\n.*/teacher\.safetensors", planned.output)
    assert len(re.findall(r"--teacher results/target/large", planned.output)) == 2
    config["training"]["mode"] = "online"
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    jobs = study.to_do("results/checkpoints/layer6_T1.0_head/draft.safetensors")
    assert jobs["draft_model"] == 1
    assert "capture" not in jobs
    planned = study.snakemake("--dry-run", "--printshellcmds", "results/quality.csv")
    assert "--splits held_out" in planned.output


@pytest.mark.parametrize("profile", [[], SLURM], ids=["local", "slurm"])
def test_the_full_study_is_planned(study, profile):
    jobs = study.to_do(*profile, *FULL)
    # drafts that differ in capacity alone are measured together, and not more than eight points of them
    assert (jobs["train"], jobs["quality"], jobs["acceptance"], jobs["speed"]) == (63, 24, (25 + 3 * 7) * 4, 3 * 4)
    assert (jobs["domain_quality"], jobs["domain_acceptance"]) == (2 * 3, 3 * 4 * 4)
    assert sum(name.startswith("figure_") for name in jobs) == 14


def test_the_study_of_drafts_that_learn_is_a_run_a_seed_and_reads_its_exit(study):
    jobs = study.to_do("all_figures", "--configfile", "profiles/online/config.yaml")
    assert (jobs["train_dvi"], jobs["train"], jobs["online"], jobs["figure_online"], jobs["figure_shift"]) == (
        18, 1, 1, 1, 1,
    )  # fmt: skip
    assert not {"figure_learning", "train_drafter"} & set(jobs)


def asking_for_a_gpu():
    """Whether each rule asks for a GPU, by its name."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    own, used = {}, {}
    for block in re.split(r"^(?=use rule |rule )", text, flags=re.MULTILINE)[1:]:
        base, name = re.match(r"(?:use rule (\w+) as|rule) (\w+)", block).groups()
        own[name], used[name] = "gpu=1" in block, base

    def asks(name):
        return own[name] or (used[name] is not None and asks(used[name]))  # one that uses another keeps its resources

    return {name: asks(name) for name in own}


def test_on_the_cluster_the_rules_that_ask_for_a_gpu_are_given_its_model():
    rules = asking_for_a_gpu()
    profile = yaml.safe_load((ROOT / "profiles/slurm-gh200/profile.yaml").read_text())
    given = {rule for rule, resources in profile["set-resources"].items() if resources.get("gpu_model")}
    assert given == {rule for rule, gpu in rules.items() if gpu}
    assert {"train", "speed"} <= given
    assert set(profile["set-resources"]) | set(profile["set-threads"]) <= set(rules)


def test_the_benchmarks_are_a_target_of_their_own(study):
    jobs = study.to_do("--cores", "2", "all_benchmarks")
    figures = {"figure_batch", "figure_lengths", "figure_peers", "figure_compile"}
    assert {name for name in jobs if name.startswith("figure_")} == figures
    assert {name: jobs[name] for name in ("batch", "lengths", "peers", "identity", "compile", "side_table")} == {
        "batch": 1,
        "lengths": 1,
        "peers": 1,
        "identity": 1,
        "compile": 1,
        "side_table": 4,
    }


def test_the_first_figure_needs_nothing_that_is_trained(study, default):
    first = study.to_do("paper_figures/lengths.png")
    made = {"target", "data", "lengths", "gather_lengths", "side_table", "figure_lengths"}
    assert set(first) - {"total"} == made
    assert made <= set(default)


def test_the_paper_needs_the_study_its_benchmarks_and_the_figures_that_it_shows(study):
    jobs = study.to_do("--cores", "2", "paper")
    assert (jobs["paper_numbers"], jobs["paper"], jobs["results"], jobs["side_table"]) == (1, 1, 1, 3)
    assert {name for name in jobs if name.startswith("figure_")} == {f"figure_{name}" for name in PAPER_FIGURES}
    done = study.snakemake("--dry-run", "--printshellcmds", "paper")
    (told,) = (shlex.split(line) for line in done.output.splitlines() if "selfdraft paper-numbers" in line)
    assert [told[told.index(f"--{name}") + 1] for name in ("batch", "peers", "identity", "compile")] == [
        f"results/{name}.csv" for name in ("batch", "peers", "identity", "compile")
    ]
    assert "--text paper " in done.output


def test_every_stage_knows_the_options_that_the_rules_give_it(study):
    done = study.snakemake("--dry-run", "--printshellcmds", "paper", "all_figures", "all_benchmarks", "all_traces")
    assert done.returncode == 0, done.output
    asked = set()
    for line in done.output.splitlines():
        if "python -m selfdraft " in line:
            command = line.split("python -m selfdraft ")[1]  # its variables hold numbers
            words = shlex.split(re.sub(r"\$(layers|depths)", "6 14", command))
            parser_of(words[0]).parse_args(words[: words.index(">")])
            asked.add(words[0])
    assert {"train", "train-drafter", "acceptance", "speed", "lengths", "paper-numbers", "paper", "figure"} <= asked


def test_a_study_without_benchmarks_and_figures_has_a_paper_too(study_at, tmp_path):
    study = study_at(tmp_path / "study")

    def change(config):
        for section in ("batch", "lengths", "identity", "peers", "compile"):
            config.pop(section, None)
        config["sweeps"] = {"own": config["sweeps"]["gamma"]}
        for section in ("domains", "traces", "figures"):
            config.pop(section, None)

    configured(study, change)
    jobs = study.to_do("paper")
    assert jobs["paper"] == 1
    assert not {name for name in jobs if name.startswith("figure_")} & {"figure_pareto", "figure_gamma"}
    assert "side_table" not in jobs


def test_all_results_draws_no_figure(study):
    assert not any(name.startswith("figure_") for name in study.to_do("all_results"))


def test_one_core_is_enough(study):
    assert study.to_do("--cores", "1", "all_figures")["speed"] == 2


PARTS = {
    "chat": {"weight": 3, "source": {"kind": "path", "path": "conversations.json"}},
    "web": {"weight": 1, "shape": "text", "source": {"kind": "path", "path": "it's web text.jsonl"}},
}


def configured(study, change):
    """Write the tiny study's config after `change` of its settings."""
    config = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    change(config)
    (study / "config.yaml").write_text(yaml.safe_dump(config))


def test_a_mixture_reaches_the_stage_whole(study_at, tmp_path):
    study = study_at(tmp_path / "study")

    def change(config):
        del config["data"]["source"]
        config["data"]["mixture"] = PARTS

    configured(study, change)
    for name in ("conversations.json", "it's web text.jsonl"):
        (study / name).write_text("[]")
    done = study.snakemake("--dry-run", "--printshellcmds", "--until", "data")
    assert done.returncode == 0, done.output
    command = next(line for line in done.output.splitlines() if "selfdraft data " in line)
    words = shlex.split(command.partition(" > ")[0])
    assert json.loads(words[words.index("--mixture") + 1]) == PARTS
    assert "--source" not in words
    assert {"mixture", "source"}.isdisjoint(json.loads(words[words.index("--settings") + 1]))


def test_a_study_without_trained_drafts_needs_prompts_alone(study_at, tmp_path):
    study = study_at(tmp_path / "study")

    def change(config):
        data, sweeps = config["data"], config["sweeps"]
        for key in ("train_tokens", "validation_tokens", "held_out_tokens"):
            del data[key]
        data |= {"splits": ["held_out"], "shape": "prompts"}
        config["sweeps"] = {name: sweep for name, sweep in sweeps.items() if "lookup" in sweep.get("drafter", [])}
        config["drafters"] = {name: config["drafters"][name] for name in ("lookup", "small")}
        for section in ("batch", "lengths", "identity", "domains", "traces", "figures", "peers", "compile"):
            config.pop(section, None)

    configured(study, change)
    jobs = study.to_do("all_results")
    assert jobs["data"] == jobs["results"] == 1
    assert not {"train", "capture", "quality", "gather_quality"} & set(jobs)


def test_pages_of_traces_need_one_draft_alone(study_at, tmp_path):
    study = study_at(tmp_path / "study")
    configured(study, lambda config: config.update(traces={"sweeps": ["gamma"], "prompts": 3}))
    jobs = study.to_do("all_traces")
    assert (jobs["train"], jobs["trace"], jobs["trace_page"]) == (1, 3, 1)
    assert not {"acceptance", "speed", "quality"} & set(jobs)


def test_drafters_that_are_trained_are_trained_once_on_the_states_that_they_read(study_at, tmp_path):
    study = study_at(tmp_path / "study")
    configured(study, lambda config: None)
    before = study.to_do("all_results")
    eagle = {"kind": "eagle3", "features": [2, 15, 27], "training": {"ttt_length": 3}}
    assert (before["questions"], before["regenerate"], before["train_drafter"]) == (1, 1, 1)
    heads = {"kind": "exits", "heads": [4, 12], "capacity": "norm"}

    def change(config):
        config["drafters"]["eagle"] = eagle  # in place of one that learns from the target's own answers
        config["drafters"]["unused"] = eagle | {"features": [9]}
        promised = heads | {"calibration": {"risk": "no_harm"}}
        config["drafters"] |= {"many": promised, "fast": {"kind": "adaptive_early_exit", "drafter": "many"}}
        config["drafters"] |= {"before": eagle | {"vocabulary": 90}, "on": eagle | {"initial": "before"}}
        del config["sweeps"]["leaving"]  # which reads other heads
        config["sweeps"]["eagle"] = {"drafter": ["eagle", "on", "fast"], "gamma": [3, 4], "policy": ["greedy"]}

    configured(study, change)
    jobs = study.to_do("all_results")
    assert (jobs["train_drafter"], jobs["train_exits"], jobs["calibrate"], jobs["capture"]) == (3, 1, 1, 1)
    assert not {"questions", "regenerate"} & set(jobs)
    done = study.snakemake("--dry-run", "--printshellcmds", "all_results")
    for name, made in {"eagle": eagle, "many": heads}.items():
        said = f"--out-dir results/drafters/{name}"
        (words,) = (shlex.split(line) for line in done.output.splitlines() if said in line)
        assert json.loads(words[words.index("--settings") + 1]) == made
    (on,) = (line for line in done.output.splitlines() if "--out-dir results/drafters/on" in line)
    assert " --initial results/drafters/before --state" in on
    assert done.output.count(" --initial ") == 1
    (calibrate,) = (line for line in done.output.splitlines() if "selfdraft calibrate " in line)
    assert "--drafter results/drafters/many --risk no_harm " in calibrate
    for stage in ("acceptance", "speed", "steps"):
        lines = [line for line in done.output.splitlines() if f"selfdraft {stage} " in line and '"eagle"' in line]
        assert lines
        told = json.loads(shlex.split(lines[0])[shlex.split(lines[0]).index("--drafters") + 1])
        assert told["eagle"] == {"kind": "eagle3", "folder": "results/drafters/eagle"}
        assert told["fast"]["drafter"] == {"kind": "exits", "folder": "results/drafters/many"}
    (results,) = (line for line in done.output.splitlines() if "selfdraft results " in line)
    assert all(f" results/drafters/{name} " in results for name in ("eagle", "many", "before", "on"))
    assert "/depth27.safetensors" in done.output
    assert "/depth13.safetensors" in done.output
    assert "/depth9.safetensors" not in done.output


def test_the_study_of_exits_asks_its_heads_in_every_way_and_looks_at_them_once(study):
    jobs = study.to_do("--configfile", "profiles/exits/config.yaml", "--cores", "2", "all_figures")
    once = ("train_exits", "calibrate", "evaluate_heads", "gather_heads", "figure_heads", "figure_methods")
    once += ("unverified", "gather_unverified", "figure_unverified", "exit_layers", "figure_exits")
    assert {name: jobs[name] for name in once} == dict.fromkeys(once, 1)
    assert jobs["train"] == 3  # each head alone, without the others
    assert "figure_learning" not in jobs


def test_the_long_study_is_the_default_ones_eagle_3_on_more_answers_and_what_stands_beside_it(study):
    jobs = study.to_do("--configfile", "profiles/long/config.yaml", "--cores", "2", "all_figures")
    once = (
        "questions",
        "regenerate",
        "train_drafter",
        "acceptance",
        "speed",
        "steps",
        "figure_learning",
        "figure_domains",
    )
    assert {name: jobs[name] for name in once} == dict.fromkeys(once, 1)
    assert (jobs["domain_acceptance"], jobs["domain_speed"]) == (2, 2)
    assert not {"train", "train_exits", "capture", "quality"} & set(jobs)  # no exit, and no states but the answers'
    long, default = (yaml.safe_load((ROOT / name).read_text()) for name in ("profiles/long/config.yaml", "config.yaml"))
    assert long["answers"] == default["answers"] | {"questions": 8 * default["answers"]["questions"]}
    recipe = default["drafters"]["eagle3"] | {"confidence": True}
    assert long["drafters"]["eagle3"] == recipe | {"training": {"ttt_length": 3, "evaluations": 12}}
    for name in ("lookup", "hybrid"):
        assert long["drafters"][name] == default["drafters"][name]
    assert (long["target"], long["data"]) == (default["target"], default["data"])


def test_the_study_of_the_shipped_draft_trains_nothing_and_times_every_way_on_every_text(study):
    jobs = study.to_do("--configfile", "profiles/shipped/config.yaml", "--cores", "2", "all_figures")
    assert not {"train", "train_exits", "train_drafter", "regenerate", "quality"} & set(jobs)
    once = ("acceptance", "speed", "steps", "figure_methods", "figure_drafting", "figure_domains")
    assert {name: jobs[name] for name in once} == dict.fromkeys(once, 1)
    assert (jobs["domain_acceptance"], jobs["domain_speed"]) == (2, 2)
    made, default = (
        yaml.safe_load((ROOT / name).read_text()) for name in ("profiles/shipped/config.yaml", "config.yaml")
    )
    assert made["domains"]["timed"] == list(made["sweeps"])
    for name in ("lookup", "shipped", "shipped-hybrid"):
        assert made["drafters"][name] == default["drafters"][name]
    assert (made["target"], made["data"]) == (default["target"], default["data"])


WRONG = [
    ("training/epoch", 3, 'config.yaml: training.epoch: unknown key; did you mean "epochs"?'),
    ("sweeps/layers/T/0", 0, "config.yaml: sweeps.layers.T.0: 0 is not > 0"),
    ("sweeps/gamma/gamma/0", 0, "config.yaml: sweeps.gamma.gamma.0: 0 is not ≥ 1"),
    ("policies/t0.7/top_p", 1.5, "config.yaml: policies.t0.7.top_p: 1.5 is not in (0, 1]"),
    ("sweeps/layers/policy/0", "greed", 'config.yaml: sweeps.layers.policy.0: "greed" is not a key of policies'),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[path for path, _, _ in WRONG])
def test_a_wrong_config_stops_the_workflow_with_one_line(study_at, tmp_path, path, value, message):
    study = study_at(tmp_path / "study")
    study.configure((path, value))
    done = study.snakemake("--cores", "1", "all_figures")
    assert done.returncode != 0
    assert message in done.output
    assert "Traceback" not in done.output
    assert not (study / "results").exists()


def test_a_wrong_configfile_is_named(study, tmp_path):
    (tmp_path / "mine.yaml").write_text("target: 3\n")
    done = study.snakemake("--dry-run", "--configfile", str(tmp_path / "mine.yaml"))
    assert done.returncode != 0
    assert "mine.yaml: target: 3 is not a mapping" in done.output


def test_later_config_files_and_settings_of_the_command_line_are_merged_over_the_study(study, tmp_path):
    (tmp_path / "mine.yaml").write_text("training: {epochs: 3}\n")
    draft = "results/checkpoints/layer21_T1.0_head_block_seed2/config.json"
    over = ["--configfile", "config.yaml", str(tmp_path / "mine.yaml"), "--config", "training={evaluations: 2}"]
    planned = study.snakemake(draft, "--dry-run", "--printshellcmds", *over)
    assert planned.returncode == 0, planned.output
    told = json.loads(re.search(r"--settings '(\{.*?\})' --dataset", planned.output)[1])
    assert (told["epochs"], told["evaluations"], told["seed"]) == (3, 2, 2)
    assert told["tokens_per_step"] == yaml.safe_load((ROOT / "config.yaml").read_text())["training"]["tokens_per_step"]
    refused = study.snakemake(draft, "--dry-run", "--config", "training={epoch: 2}")
    assert 'config.yaml + --config: training.epoch: unknown key; did you mean "epochs"?' in refused.output
