"""The end of a study says on the terminal how many of its timed runs were disturbed, and under which policy."""

from selfdraft.study.disturbed import disturbed_runs


def test_disturbed_runs_are_told_by_policy(tmp_path):
    path = tmp_path / "results" / "speed.csv"
    path.parent.mkdir()
    path.write_text("policy,disturbed\ngreedy,0\ngreedy,1\ngreedy,0\nt0.7,0\n")
    first, greedy, warm, last = disturbed_runs(path)
    assert first == "Timed runs that something disturbed: 1 of 4."
    assert (greedy, warm) == ("  under greedy: 1 of 3", "  under t0.7: 0 of 1")
    assert f"{path.parent}/raw/speed" in last
    path.write_text("policy,disturbed\ngreedy,1\n")
    assert len(disturbed_runs(path)) == 2  # of one policy, nothing is said twice
    path.write_text("policy,disturbed\ngreedy,0\n")
    assert disturbed_runs(path) == ["Timed runs that something disturbed: 0 of 1."]
    path.write_text("policy\ngreedy\n")  # of an older study
    assert disturbed_runs(path) == disturbed_runs(tmp_path / "none.csv") == []
