"""What a plan says of time and disk hangs together, and costs are found again in what they predict."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from selfdraft.errors import StudyError
from selfdraft.plan import decoding
from selfdraft.plan.calibrate import calibrated, measured_seconds
from selfdraft.plan.costs import CASES, names, read_costs, write_costs
from selfdraft.plan.dimensions import models_of
from selfdraft.plan.predict import by_figure, plan, wall_seconds
from selfdraft.plan.targets import by_rule, jobs_for
from selfdraft.study.config import load

ROOT = Path(__file__).resolve().parents[2]
BOTH = ("all_figures", "all_benchmarks")
MACHINE = {"device": "cpu", "cpu": "a CPU", "cores": 2, "read_bandwidth_gb_s": 60}
MACHINE["matrix_gflop_s"] = {"bfloat16": 500.0, "float32": 100.0}


def study(path="config.yaml"):
    config = load(ROOT / path)
    return config, models_of(config, "nowhere")


CONFIG, MODELS = study()


@pytest.mark.parametrize("machine", names())
@pytest.mark.parametrize("path", ["config.yaml", "profiles/slurm-gh200/config.yaml"])
def test_every_job_has_a_cost_and_the_cases_are_in_order(path, machine):
    config, models = study(path)
    made = plan(config, models, read_costs(machine), BOTH)
    total = made.amount()
    seconds = [gpu + cpu for gpu, cpu in zip(total.gpu, total.cpu, strict=True)]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert [[job.name for job in jobs] for jobs in made.cases.values()] == [
        [job.name for job in made.cases["typical"]]
    ] * 3
    assert total.disk[0] <= total.disk[1] <= total.disk[2]


def test_nothing_is_called_measured_on_a_machine_that_nobody_measured():
    costs = read_costs("gh200")
    assert costs.measured == {}
    assert "NOTHING WAS MEASURED" in costs.origin
    for low, typical, high in (*costs.of_peak.values(), *costs.start_s.values()):
        assert max(low, high) / min(low, high) >= 4
        assert min(low, high) < typical < max(low, high)


def test_one_after_the_other_is_the_sum_and_more_at_once_is_never_slower():
    costs = replace(read_costs("epyc-2-cores"), shared=False)
    jobs = jobs_for(CONFIG, MODELS)
    whole = sum(costs.seconds(job) for job in jobs)
    clock = [wall_seconds(jobs, costs, "typical", slots) for slots in (1, 2, 8, 1000)]
    assert clock[0] == pytest.approx(whole)
    assert clock[0] > clock[1] > clock[2] >= clock[3]
    assert clock[1] >= whole / 2
    chain = ("target SmolLM2-135M-Instruct", "data sharegpt", "capture sharegpt", "speed greedy", "results")
    times = {job.name: costs.seconds(job) for job in jobs}
    slowest = max(time for name, time in times.items() if name.startswith("train "))
    assert clock[3] >= sum(times[name] for name in chain) + slowest


def test_on_one_machine_a_job_that_claims_it_runs_alone():
    costs = read_costs("epyc-2-cores")
    jobs = jobs_for(CONFIG, MODELS)
    alone = sum(costs.seconds(job) for job in jobs if job.threads != 1)
    side_by_side = sum(costs.seconds(job) for job in jobs if job.threads == 1)
    assert wall_seconds(jobs, costs, "typical", 2) >= alone + side_by_side / 2


def test_what_the_figures_add_is_what_all_of_them_need():
    costs = read_costs("epyc-2-cores")
    figures = by_figure(CONFIG, MODELS, costs, ["all_figures"])
    drawn = list(figures)
    together = plan(CONFIG, MODELS, costs, ["all_figures"]).amount()
    added = sum(more.gpu[1] for _, more in figures.values())
    # of the default study's sweeps only lookup's sampled point is drawn by no figure
    assert 0.95 * together.gpu[1] < added <= together.gpu[1]
    assert figures["acceptance_sweep"][1].gpu[1] == 0  # it draws the same sweep as the figure before it
    for alone, more in figures.values():
        assert more.gpu[1] <= alone.gpu[1] + 1e-6
    assert len(drawn) == 12
    assert figures["training_curves"][0].gpu[1] < figures["histograms"][0].gpu[1] < figures["pareto"][0].gpu[1]


def test_parts_are_more_jobs_with_the_same_work():
    whole, parted = jobs_for(CONFIG, MODELS), jobs_for(CONFIG | {"shards": 2}, MODELS)
    assert by_rule(parted)["acceptance"] == 2 * by_rule(whole)["acceptance"]
    assert by_rule(parted)["speed"] == 2 * by_rule(whole)["speed"]

    def products(jobs, stage):
        return sum(job.work.float32 + job.work.bfloat16 for job in jobs if job.stage == stage)

    assert products(parted, "acceptance") == pytest.approx(products(whole, "acceptance"))
    warm_up = 1 / CONFIG["speed"]["prompts"]
    assert products(parted, "speed") / products(whole, "speed") == pytest.approx(1 + warm_up / (1 + warm_up))


@pytest.mark.parametrize("gamma", [1, 4])
def test_cycles_lie_between_none_and_all_accepted(gamma):
    limits = {scenario: decoding.cycles(40, gamma, 8, 0.4, scenario) for scenario in decoding.SCENARIOS}
    assert limits["all"] == 40 / (gamma + 1)
    assert limits["none"] == 40
    assert limits["all"] < limits["expected"] < limits["none"]
    assert decoding.cycles(40, gamma, 8, 1.0, "expected") == limits["all"]
    assert decoding.cycles(40, gamma, 1, 0.4, "expected") < limits["expected"]  # no slowest row to wait for


def test_costs_are_found_again_in_the_seconds_that_they_predict():
    base = read_costs("epyc-2-cores")
    faster = {stage: tuple(1.6 * share for share in shares) for stage, shares in base.of_peak.items()}
    slower = {stage: tuple(2.5 * seconds for seconds in start) for stage, start in base.start_s.items()}
    truth = replace(base, of_peak=faster, start_s=slower, gflop_s=MACHINE["matrix_gflop_s"], bandwidth_gb_s=60.0)
    jobs = jobs_for(CONFIG, MODELS, BOTH)
    known = {job.name: truth.seconds(job) for job in jobs if job.benchmark}
    found = calibrated(base, jobs, known, MACHINE, "mine")
    assert sum(found.seconds(job) for job in jobs) == pytest.approx(sum(truth.seconds(job) for job in jobs), rel=0.05)
    for job in jobs:
        if job.stage in ("train", "acceptance", "quality"):
            assert found.seconds(job) == pytest.approx(truth.seconds(job), rel=0.2), job.name
    assert found.measured["train"] == by_rule(jobs)["train"]
    assert not {"train", "acceptance", "quality"} & set(found.start_only)


def test_a_stage_that_did_not_run_is_told_as_before_and_said_to_be():
    base = read_costs("gh200")
    jobs = jobs_for(CONFIG, MODELS)
    known = {job.name: 100.0 for job in jobs if job.stage == "train"}
    found = calibrated(base, jobs, known, MACHINE, "mine")
    assert found.of_peak["speed"] == base.of_peak["speed"]
    assert "speed" not in found.measured
    said = " ".join(found.assumptions)
    assert "speed" in said
    assert "NOTHING WAS MEASURED" in said


def test_the_range_of_a_stage_is_how_far_its_jobs_were_off():
    base = read_costs("epyc-2-cores")
    jobs = jobs_for(CONFIG, MODELS)
    even = {job.name: base.seconds(job) for job in jobs if job.stage == "train"}
    uneven = {name: seconds * (3 if number % 2 else 1 / 3) for number, (name, seconds) in enumerate(even.items())}

    def width(known):
        low, _, high = calibrated(base, jobs, known, MACHINE, "mine").start_s["train"]
        return math.log(high / low)

    assert width(uneven) > 4 * width(even)


def test_costs_come_back_from_their_file(tmp_path):
    costs = read_costs("gh200")
    write_costs(tmp_path / "mine.json", costs)
    assert read_costs(str(tmp_path / "mine.json")) == costs


def test_a_wrong_machine_or_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"--machine gh300: neither a file nor one of .*gh200"):
        read_costs("gh300")
    (tmp_path / "mine.json").write_text('{"name": "mine"}')
    with pytest.raises(StudyError, match="not a file of costs"):
        read_costs(str(tmp_path / "mine.json"))
    with pytest.raises(StudyError, match="no file of a job of this config"):
        measured_seconds(tmp_path, jobs_for(CONFIG, MODELS))


def test_there_is_a_case_for_each_limit_of_acceptance():
    made = plan(CONFIG, MODELS, read_costs("epyc-2-cores"))
    assert tuple(made.cases) == CASES
