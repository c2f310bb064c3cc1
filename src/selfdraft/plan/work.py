"""What a job has to do, in units that a machine has rates for."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

BYTES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Work:
    """Amounts of work; they add up.

    bfloat16, float32: floating-point operations of matrix products; memory: bytes that pass between
    processor and memory; disk: bytes of states read or written; passes: how often Python starts a step's kernels;
    eager_layers: layers that transformers' `generate` runs, one token each; units: of a stage without a
    model, see `jobs`.
    """

    bfloat16: float = 0.0
    float32: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    passes: float = 0.0
    eager_layers: float = 0.0
    units: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: float) -> "Work":
        return Work(*(getattr(self, f.name) * times for f in fields(self)))


NOTHING = Work()


def products(dtype: str, flops: float, memory: float = 0.0, passes: float = 0.0) -> Work:
    """Matrix products in one number format."""
    return Work(**{dtype: flops}, memory=memory, passes=passes)


def peak_seconds(work: Work, flops: Mapping[str, float], bandwidth: float) -> float:
    """Seconds at rates that are never reached: products in FLOP/s by number format, memory in bytes/s.

    As if nothing overlapped: at most twice what a roofline says.
    """
    return work.bfloat16 / flops["bfloat16"] + work.float32 / flops["float32"] + work.memory / bandwidth
