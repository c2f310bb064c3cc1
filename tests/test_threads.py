"""Threads: one a core that is free, and a pool that sleeps when it has to wait for long."""

import os

import pytest

from selfdraft import threads
from selfdraft.threads import busy_cores, free_threads, usable_cores, wait_gently


@pytest.mark.parametrize(
    ("usable", "busy", "most", "expected"),
    [
        (2, 0.0, None, 2),
        (2, 0.4, None, 2),
        (2, 1.0, None, 1),
        (2, 2.0, None, 1),
        (8, 2.6, None, 5),
        (8, 0.0, 2, 2),
        (2, 0.1, 16, 2),
    ],
)
def test_there_is_a_thread_for_each_free_core_and_never_more(usable, busy, most, expected):
    found, why = free_threads(most, usable, busy)
    assert found == expected
    assert why.startswith(f"{expected} thread")
    assert f"{usable} usable cores" in why


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, 64),
        ({"sys/fs/cgroup/cpu.max": "350000 100000"}, 3),
        ({"sys/fs/cgroup/job/cpu.max": "50000 100000", "sys/fs/cgroup/cpu.max": "400000 100000"}, 1),
        ({"sys/fs/cgroup/job/step/cpu.max": "max 100000", "sys/fs/cgroup/job/cpu.max": "200000 100000"}, 2),
        ({"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "600000", "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000"}, 6),
        ({"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000"}, 64),
        ({}, 64),
    ],
)
def test_quotas_of_control_groups_around_the_process_count(tmp_path, monkeypatch, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    old = any("cfs" in name for name in files)
    files = files | {"proc/self/cgroup": "4:cpu,cpuacct:/job\n" if old else "0::/job/step\n"}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert usable_cores(tmp_path) == cores


def test_the_load_at_the_start_is_that_of_the_cores_that_this_process_may_use(tmp_path, monkeypatch):
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 1 1 1\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\ncpu2 9 0 0 0 0 0 0 0 0 0\n")
    later = "cpu0 30 0 10 60 0 0 0 0 0 0\ncpu1 0 0 0 50 50 0 0 0 0 0\ncpu2 99 0 0 0 0 0 0 0 0 0\n"
    monkeypatch.setattr(threads.time, "sleep", lambda _: stat.write_text(later))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert busy_cores(stat=stat) == pytest.approx(0.4)
    assert busy_cores(stat=tmp_path / "none") == 0.0


def test_waiting_threads_sleep_soon_unless_the_user_has_said_how_they_wait():
    environment = {}
    wait_gently(environment)
    assert environment == {"GOMP_SPINCOUNT": threads.SPIN}
    for chosen in ({"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "infinite"}):
        environment = dict(chosen)
        wait_gently(environment)
        assert environment == chosen
