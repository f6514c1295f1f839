"""What this machine has to give: the numbers that the table is scaled to. PURE but for reading them."""

from __future__ import annotations

import os
import resource
from pathlib import Path

#: Where Linux says what a container may use; absent elsewhere.
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory() -> int:
    """Bytes of memory this process could ever have: of the machine, its container, or its address space."""
    least = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            least = min(least, int(text))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return least if soft == resource.RLIM_INFINITY else min(least, soft)


def descriptors() -> int:
    """File descriptors this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
