"""How surprising a small risk is if the true one were above the limit: p-values for means of conversations' losses.

The hypothesis is always "the risk is more than delta". A p-value of it is super-uniform: P(p <= u) <= u for every u, as
long as the conversations are drawn independently. All functions broadcast over arrays.
"""

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
LARGEST_SAMPLE = 1 << 20  # conversations that `conversations_needed` looks at


def binomial(total: npt.ArrayLike, n: npt.ArrayLike, delta: float) -> Floats:
    """Exact, for losses that are 0 or 1: P(Bin(n, delta) <= total); `total` of `n` conversations lost."""
    return np.asarray(stats.binom.cdf(np.asarray(total), np.asarray(n), delta), dtype=np.float64)


def hoeffding_bentkus(total: npt.ArrayLike, n: npt.ArrayLike, delta: float) -> Floats:
    """For losses in [0, 1]; `total` is their sum over `n` conversations.

    min(exp(-n kl(min(mean, delta) || delta)), e P(Bin(n, delta) <= ceil(total))): Bates et al. 2021 (Distribution-free,
    risk-controlling prediction sets), Proposition 5. A risk of zero is no special case: 0 log 0 is 0.
    """
    sums, count = np.asarray(total, dtype=np.float64), np.asarray(n, dtype=np.float64)
    mean = np.minimum(sums / count, delta)
    divergence = special.rel_entr(mean, delta) + special.rel_entr(1.0 - mean, 1.0 - delta)
    hoeffding = np.exp(-count * divergence)
    bentkus = np.e * binomial(np.ceil(sums), count, delta)
    return np.minimum(np.minimum(hoeffding, bentkus), 1.0)


def p_values(total: npt.ArrayLike, n: npt.ArrayLike, delta: float, binary: bool) -> Floats:
    """`binomial` for losses that are 0 or 1 by their definition (`binary`), else `hoeffding_bentkus`."""
    return binomial(total, n, delta) if binary else hoeffding_bentkus(total, n, delta)


def conversations_needed(risk: float, delta: float, epsilon: float, binary: bool = False) -> int | None:
    """The smallest number of conversations of this mean loss whose p-value is at most `epsilon`.

    None if there is none up to LARGEST_SAMPLE, as where the risk is not below `delta`.
    """
    if not risk < delta:
        return None
    begin, size = 1, 1024
    while begin <= LARGEST_SAMPLE:
        counts = np.arange(begin, begin + size)
        # A share of 0/1 losses is reached by whole losses, no fewer than it says.
        totals = np.ceil(risk * counts - 1e-9) if binary else risk * counts
        enough = np.flatnonzero(p_values(totals, counts, delta, binary) <= epsilon)
        if enough.size:
            return int(counts[enough[0]])
        begin, size = begin + size, 2 * size
    return None
