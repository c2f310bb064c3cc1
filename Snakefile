"""The study: config -> results/results.csv and paper_figures/. Rules name files; `selfdraft` does the work."""

import logging
import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, update_config

min_version("9.27")

# The package beside this file serves the rules below and the jobs, in whatever environment they run.
sys.path.insert(0, f"{workflow.basedir}/src")

from selfdraft.study import StudyError, code_digests, drawing, entries, job_groups, online, options, sweeps, teaching
from selfdraft.study.announcement import announce, conclude
from selfdraft.study.benchmark_files import benchmark_patterns
from selfdraft.study.cluster import check_slurm
from selfdraft.study.conda_check import check_conda
from selfdraft.study.config import check, check_layers, layers_text, typed
from selfdraft.study.disk import check_writable
from selfdraft.study.environments import environment_file
from selfdraft.study.idle_scheduler import sleep_between_jobs
from selfdraft.study.job_prefix import prepare_jobs
from selfdraft.study.lock import claim
from selfdraft.study.options import sources_of, splits_of
from selfdraft.study.second_look import look_again
from selfdraft.study.source_digests import files_on_disk

# On a full disk Snakemake's own log fails too: without a traceback for each of its lines.
logging.raiseExceptions = False

# The first --configfile is a whole study of its own, in place of config.yaml; later ones, and --config, are merged over it.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


try:
    study = layers_text(workflow.overwrite_configfiles or ["config.yaml"], workflow.config_settings.config)
    update_config(config, typed(workflow.config_settings.config))
    check(config, study)
    check_layers(config, study, f"results/target/{config['target']['name']}")
    check_conda(workflow)
    ENVIRONMENT = f"../../envs/{environment_file(workflow)}"  # from the files of the rules
except StudyError as error:
    raise WorkflowError(str(error))

if not workflow.is_main_process:
    code_digests.take_as_they_stand()

DEPTHS = teaching.captured_depths(config)
shell.prefix(prepare_jobs(layers=sweeps.layers(config), depths=DEPTHS))

TARGET = f"results/target/{config['target']['name']}"
DATA = f"results/data/{config['data']['name']}"
CAPTURE = f"results/capture/{config['data']['name']}"
QUESTIONS = f"results/questions/{config['data']['name']}"
ANSWERS = teaching.answers_folder(config)
CHECKPOINT = "results/checkpoints/layer{layer}_T{T}_{capacity}{variant}"
STATES = collect(
    f"{CAPTURE}/depth{{depth}}.safetensors",
    depth=lookup(dpath="layer{layer}_T{T}_{capacity}{variant}", within=sweeps.depth_by_draft(config)),
)
DOMAIN_POINTS = sweeps.points_for(config, "domains")
TIMED_ELSEWHERE = sweeps.points_for(config, "domains", "timed")
DOMAIN_DEPTHS = sweeps.depths(sweeps.trained(DOMAIN_POINTS))
TEACHER = collect(
    "results/target/{name}/{file}",
    name=teaching.teachers(config),
    file=["config.json", "model.safetensors", "tokenizer.json"],
)
DRAFTERS = entries.drafter_files(config, sweeps.points(config))


report: "workflow/report/workflow.rst"


# Not in dry runs, reports and the like, and not in jobs.
onstart:
    try:
        claim(".snakemake")
        check_slurm(workflow)
        check_writable("results", "paper_figures")
    except StudyError as error:
        raise WorkflowError(str(error))
    announce(workflow, config, logger)
    sleep_between_jobs(workflow)


onsuccess:
    conclude(workflow, logger)
    look_again(workflow)


# The log of a job that filled the disk may be empty.
onerror:
    try:
        check_writable("results", "paper_figures")
    except StudyError as error:
        raise WorkflowError(str(error))


wildcard_constraints:
    layer=r"\d+",
    T=r"\d+\.\d+",
    capacity=options.any_of(sweeps.CAPACITIES),
    variant=sweeps.VARIANT,
    group=options.any_of(job_groups.groups(config)),
    policy=options.any_of(config["policies"]),
    shard=options.one_of(job_groups.shards(config)),
    model=options.any_of(teaching.other_models(config)),
    drafter=options.any_of(entries.trained_drafters(config)),
    text=options.any_of([config["data"]["name"], *options.sets_with(config, "prompts")]),
    set=options.any_of(options.sets(config)),


include: "workflow/rules/sources.smk"
include: "workflow/rules/answers.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/online.smk"
include: "workflow/rules/quality.smk"
include: "workflow/rules/acceptance.smk"
include: "workflow/rules/speed.smk"
include: "workflow/rules/domains.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/side_tables.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/traces.smk"
include: "workflow/rules/paper.smk"


rule all_figures:
    default_target: True
    input:
        rules.provenance.output,
        collect(
            "paper_figures/{figure}.{format}",
            figure=[
                name for name in drawing.figures(config) if name == drawing.EARLY or name not in drawing.TABLE_FIGURES
            ],
            format=["pdf", "png"],
        ),


rule all_benchmarks:
    """What compares implementations and machines rather than drafts: tables beside results.csv, and their figures."""
    input:
        collect("results/{table}.csv", table=drawing.side_tables(config)),
        branch(drawing.side_tables(config), then=rules.provenance_of_benchmarks.output, otherwise=[]),
        collect(
            "paper_figures/{figure}.{format}",
            figure=[name for name in drawing.figures(config) if name in drawing.TABLE_FIGURES],
            format=["pdf", "png"],
        ),


rule all_data:
    """The study's own text, and that of `domains`."""
    input:
        rules.data.output,
        collect("results/data/{set}/sources.json", set=options.sets(config)),


rule all_results:
    input:
        "results/results.csv",
        rules.provenance.output,
