"""How many processors may be used, by affinity and by every control group on the way to the root."""

from __future__ import annotations

import builtins
import io
import os

import pytest

from penstock.shm import processors

V2 = "0::/a/b\n"
V1 = "5:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/a\n"


def usable(monkeypatch, files, cpus=8):
    """With a /proc and a /sys of these files, and no others."""

    def read(path, *args, **kwargs):
        if path.startswith(("/proc/self/cgroup", "/sys/fs/cgroup")):
            if path not in files:
                raise FileNotFoundError(path)
            return io.StringIO(files[path])
        return real(path, *args, **kwargs)

    real = builtins.open
    monkeypatch.setattr(processors, "open", read, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    return processors.usable_processors()


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"/proc/self/cgroup": V2}, 8),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 8),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/a/b/cpu.max": "1600000 100000\n"}, 8),
        ({"/proc/self/cgroup": V2, "/sys/fs/cgroup/a/b/cpu.max": "nonsense"}, 8),
        (
            {
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        (
            {
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "120000\n",
                "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            1.2,
        ),
    ],
)
def test_the_smallest_allowance_counts(monkeypatch, files, count):
    """v1 and v2, of the group and of those around it; what is not set allows everything."""
    assert usable(monkeypatch, files) == count


def test_the_affinity_counts(monkeypatch):
    """Pinned to one processor, of however many."""
    assert usable(monkeypatch, {"/proc/self/cgroup": V2, "/sys/fs/cgroup/cpu.max": "200000 100000"}, 1) == 1


def test_a_system_without_affinity_counts_its_processors(monkeypatch):
    """macOS has none of this."""
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    usable(monkeypatch, {})
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors.usable_processors() == 5
