"""Sums of ways to decode become ratios over prompts; disagreement is the mean of the prompts' shares."""

import pandas as pd
import pytest

from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.ways import SUMS, estimates


def test_each_estimate_is_of_its_sums_and_what_a_way_does_not_do_has_none():
    sums = pd.DataFrame([dict.fromkeys(SUMS, 0) | {"tokens": 10, "seconds": 1.0 + k, "calls": 5} for k in range(9)])
    sums = sums.assign(drafted=4, accepted=[1, 2, 3] * 3, left=4, layers=28, nats=10.0, disagreeing=[0, 1, 2] * 3)
    sums.loc[0, "tokens"] = 20
    base = sums.assign(seconds=2 * sums["seconds"])
    found = estimates(sums, base, Bootstrap(resamples=99), "way")
    assert found["speedup"].value == pytest.approx(2)
    assert found["tokens_per_second"].value == pytest.approx(100 / 45)
    assert found["target_calls_per_token"].value == pytest.approx(0.45)
    assert (found["accept_rate"].value, found["mean_layer"].value) == (0.5, 7)
    assert found["disagreement"].value == pytest.approx(0.1)  # of prompts, however long they are
    assert found["perplexity"].value == pytest.approx(2.718281828**0.9)
    assert found["accept_rate"].low < 0.5 < found["accept_rate"].high
    alone = estimates(sums.assign(drafted=0, left=0), base, Bootstrap(resamples=99), "way")
    assert alone["accept_rate"].value is None is alone["mean_layer"].value
