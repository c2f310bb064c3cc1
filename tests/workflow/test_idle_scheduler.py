"""While a job runs, Snakemake does nothing: what it does beside a timed job is in that job's times."""

import re

import pytest

# Jobs of the real Snakefile: three that end at once, one that takes some seconds, and one that waits for its core.
JOBS = """
rule short:
    output:
        "short{number}.txt",
    shell:
        "touch {output}"


rule long:
    input:
        collect("short{number}.txt", number=[1, 2, 3]),
    output:
        "long.txt",
    priority: 1
    shell:
        "sleep 4 && touch {output}"


use rule long as last with:
    output:
        "last.txt",
    priority: 0
"""


@pytest.fixture
def study(study_at, tmp_path):
    study = study_at(tmp_path / "study")
    study.add(JOBS)
    return study


def plans(study, *words):
    """How often the scheduler looked for jobs to start, in a run that ends well."""
    done = study.snakemake("--cores", "1", "--verbose", *words, "long.txt", "last.txt")
    assert done.returncode == 0, done.output
    return len(re.findall(r"^Selected jobs: \d+$", done.output, flags=re.MULTILINE))


def test_the_scheduler_plans_when_a_job_ends_and_at_no_other_time(study):
    assert plans(study) <= 5  # at first, and after each job that leaves one to start


def test_a_limit_that_somebody_asked_for_is_kept(study):
    assert plans(study, "--max-jobs-per-timespan", "50/1s") > 10
