"""Sentences whose truth depends on the numbers: the tables choose between their forms, nobody writes them in advance.

Each function takes the study and gives one sentence or a few, without a digit that does not come from its tables; empty
where there is nothing to say. What the study did not measure is said as such.
"""

from collections.abc import Callable

from selfdraft.paper import benchmarks, drafts, verdicts
from selfdraft.paper.measured import Measured

SENTENCES: dict[str, Callable[[Measured], str]] = {
    "exits": verdicts.of_exits,
    "others": verdicts.of_other_drafters,
    "fastest": verdicts.of_the_fastest,
    "cycle": verdicts.of_a_cycle,
    "depth": drafts.of_depth,
    "itself": verdicts.of_itself,
    "capacity": drafts.of_capacity,
    "length": drafts.of_length,
    "temperature": drafts.of_temperature,
    "start": drafts.of_start,
    "drafting": verdicts.of_drafting,
    "domains": drafts.of_domains,
    "sampling": drafts.of_sampling,
    "batches": benchmarks.of_batches,
    "peers": benchmarks.of_peers,
    "compilers": benchmarks.of_compilers,
    "identity": benchmarks.of_identity,
    "prediction": verdicts.of_prediction,
    "disturbance": verdicts.of_disturbance,
    "seeds": drafts.of_seeds,
    "weights": benchmarks.of_weights,
}


def sentences(study: Measured) -> dict[str, str]:
    """All of them by name."""
    return {name: make(study) for name, make in SENTENCES.items()}
