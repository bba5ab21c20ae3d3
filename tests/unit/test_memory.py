"""What memory there is, and what the system says to too much."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from azpg_runtime.errors import OutOfMemory
from azpg_runtime.models import StoredModel
from azpg_runtime.system.memory import (
    cgroup_limits,
    check_available,
    default_limit,
    give_back,
    megabytes,
    process_limit,
)


def groups(root: Path, own: str, files: dict[str, str]) -> list[int]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "own").write_text(own)
    return sorted(cgroup_limits(root, root / "own"))


def test_a_group_of_version_two_and_those_it_lies_in(tmp_path: Path) -> None:
    files = {"a/memory.max": "max\n", "a/b/memory.max": "3000\n", "a/b/c/memory.max": "4000\n"}
    assert groups(tmp_path, "0::/a/b/c\n", files) == [3000, 4000]


def test_a_group_of_version_one(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/a/memory.limit_in_bytes": "5000\n",
        "cpu/a/memory.limit_in_bytes": "1\n",
    }
    own = "3:cpu,cpuacct:/a\n2:hugetlb,memory:/a\n1:name=systemd:/a\n0::/a\n"
    assert groups(tmp_path, own, files) == [5000, 9223372036854771712]


def test_a_container_sees_only_its_own_group_at_the_root(tmp_path: Path) -> None:
    assert groups(tmp_path, "0::/docker/0123\n", {"memory.max": "7000\n"}) == [7000]


@pytest.mark.parametrize("own", ["", "0::/\n", "0::/gone\n", "4:memory:/gone\n"])
def test_no_groups_to_be_seen(tmp_path: Path, own: str) -> None:
    assert groups(tmp_path, own, {}) == []
    assert cgroup_limits(tmp_path, tmp_path / "missing") == []


def test_the_limit_is_three_quarters_of_what_there_is() -> None:
    total = psutil.virtual_memory().total
    assert 0 < default_limit() <= 0.75 * total
    assert default_limit() == int(0.75 * min([total, *cgroup_limits()]))


def test_the_limit_of_the_process_leaves_room_for_runs() -> None:
    available = min([psutil.virtual_memory().total, *cgroup_limits()])
    assert process_limit(None) == max(1 << 32, int(0.9 * available)) > default_limit()
    assert process_limit(10**9) == 10**9 + max(1 << 32, int(0.25 * available))


def test_a_process_is_limited_and_a_lower_limit_stays() -> None:
    script = """
import mmap, resource
from azpg_runtime.errors import OutOfMemory
from azpg_runtime.system.memory import check_available, limit_process
for size in (2**29, 2**40):
    limit_process(size)
    print(resource.getrlimit(resource.RLIMIT_DATA)[0] == 2**29)
mmap.mmap(-1, 2**30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
try:
    check_available(2**29)
except OutOfMemory as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "True\nTrue\nthe system refuses 537 MB: Cannot allocate memory\n"


def test_what_the_system_gives_and_what_it_does_not() -> None:
    check_available(1 << 20)
    with pytest.raises(OutOfMemory) as caught:
        check_available(1 << 60)
    assert (caught.value.sqlstate, caught.value.hint) == ("53200", "")
    assert caught.value.message == "the system refuses 1,152,921,504,607 MB: Cannot allocate memory"


def test_a_limit_of_the_process_is_noticed() -> None:
    script = f"""
import resource
from azpg_runtime.system.memory import check_available
from azpg_runtime.errors import OutOfMemory
used = int(open("/proc/self/statm").read().split()[0]) * {os.sysconf("SC_PAGE_SIZE")}
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, {resource.RLIM_INFINITY}))
check_available(2**27)
try:
    check_available(2**29)
except OutOfMemory as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "the system refuses 537 MB: Cannot allocate memory\n"


def test_giving_back_is_harmless() -> None:
    give_back()
    give_back()


def test_sizes_for_people() -> None:
    assert [megabytes(size) for size in (0, 1_499_999, 98_765_432_100)] == ["0 MB", "1 MB", "98,765 MB"]


def test_the_estimate_of_a_real_model_fits_what_it_takes(minilm: StoredModel) -> None:
    """Loaded, and with its whole table of tokens touched, in a process that had none before."""
    script = """
import sys
from pathlib import Path
import numpy as np
import psutil
from azpg_runtime.embedding.session import Session
from azpg_runtime.embedding.tokenizer import Tokenizer
from azpg_runtime.system.memory import give_back
from azpg_runtime.models.stored import StoredModel
model = StoredModel.open(Path(sys.argv[1]), name=None)
before = psutil.Process().memory_info().rss
kept = Tokenizer(model.tokenizer, max_tokens=256), Session(model, padding=0)
for begin in range(0, 30500, 500):
    kept[1].run([np.arange(begin, begin + 250), np.arange(begin + 250, begin + 500)])
give_back()
print(psutil.Process().memory_info().rss - before, model.memory)
"""
    command = [sys.executable, "-c", script, str(minilm.folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken, estimated = map(int, done.stdout.split())
    assert 0.7 < taken / estimated < 1.4, (taken, estimated)
