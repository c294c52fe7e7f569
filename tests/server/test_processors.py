"""How many processors there are, in folders that look like cgroups."""

import os

import pytest

from headgate.server.processors import available_processors

AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "processors"),
    [
        ("max 100000", AFFINITY),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", min(2, AFFINITY)),
        ("100000000 100000", AFFINITY),
    ],
)
def test_cgroup_version_2(tmp_path, quota, processors):
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert available_processors(tmp_path) == processors


@pytest.mark.parametrize(("quota", "processors"), [("-1", AFFINITY), ("50000", 1), ("1000000000", AFFINITY)])
def test_cgroup_version_1(tmp_path, quota, processors):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_processors(tmp_path) == processors


def test_without_a_cgroup(tmp_path):
    assert available_processors(tmp_path) == AFFINITY


def test_here():
    assert 1 <= available_processors() <= AFFINITY


@pytest.mark.parametrize("processors", [{0}, {0, 1}])
def test_affinity(tmp_path, processors):
    before = os.sched_getaffinity(0)
    if not processors <= before:
        pytest.skip("needs processors 0 and 1")
    os.sched_setaffinity(0, processors)
    try:
        assert available_processors(tmp_path) == len(processors)
    finally:
        os.sched_setaffinity(0, before)
