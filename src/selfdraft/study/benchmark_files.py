"""Which rule a benchmark file is of: the pattern of its path, asked of the workflow."""

from collections.abc import Iterable
from typing import Any


def benchmark_patterns(rules: Iterable[Any]) -> dict[str, str]:
    """The regular expression of each Snakemake rule's benchmark files, by the rule's name."""
    return {rule.name: rule.benchmark.regex().pattern for rule in rules if rule.benchmark}
