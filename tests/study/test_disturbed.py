"""The end of a study says on the terminal which runs were disturbed, and nothing if none were."""

from selfdraft.study.disturbed import disturbed_runs


def test_disturbed_runs_are_told_by_policy(tmp_path):
    path = tmp_path / "results" / "speed.csv"
    path.parent.mkdir()
    path.write_text("policy,disturbed\ngreedy,0\ngreedy,1\ngreedy,0\nt0.7,0\n")
    first, last = disturbed_runs(path)
    assert first == "Disturbed by other work on the machine: 1 of 3 timed runs under greedy."
    assert f"{path.parent}/raw/speed" in last
    path.write_text("policy,disturbed\ngreedy,0\n")
    assert disturbed_runs(path) == []
    path.write_text("policy\ngreedy\n")  # of an older study
    assert disturbed_runs(path) == disturbed_runs(tmp_path / "none.csv") == []
