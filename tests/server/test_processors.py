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


@pytest.fixture
def membership(tmp_path):
    """Say in which cgroups the process is."""

    def write(*lines):
        file = tmp_path / "proc"
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    return write


NESTED = "kubepods.slice/pod1.slice/container"


@pytest.mark.parametrize("limited", ["", "kubepods.slice", "kubepods.slice/pod1.slice", NESTED])
def test_the_least_quota_of_nested_cgroups(tmp_path, membership, limited):
    root = tmp_path / "cgroup"
    (root / NESTED).mkdir(parents=True)
    (root / NESTED / "cpu.max").write_text("max 100000\n")
    (root / "kubepods.slice" / "cpu.max").write_text("100000000 100000\n")
    (root / limited / "cpu.max").write_text("100000 100000\n")
    # The quota of a neighbour is none of ours.
    (root / "kubepods.slice" / "other").mkdir()
    (root / "kubepods.slice" / "other" / "cpu.max").write_text("1000 100000\n")
    assert available_processors(root, membership(f"0::/{NESTED}")) == 1
    assert available_processors(root, membership("0::/elsewhere")) == (1 if limited == "" else AFFINITY)


def test_nested_cgroups_of_version_1(tmp_path, membership):
    folder = tmp_path / "cgroup/cpu/docker/one"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("50000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    lines = ["4:cpu,cpuacct:/docker/one", "3:cpuset:/docker/two", "0::/"]
    assert available_processors(tmp_path / "cgroup", membership(*lines)) == 1
    assert available_processors(tmp_path / "cgroup", membership("4:cpuset,cpuacct:/docker/one")) == AFFINITY


@pytest.mark.parametrize("line", ["0::/", "0::/../../elsewhere", "1:name=systemd:/a:b"])
def test_membership_that_says_nothing(tmp_path, membership, line):
    assert available_processors(tmp_path / "cgroup", membership(line)) == AFFINITY


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
