"""The seccomp profile of workspaces, where the engine's own default is an old one.

Before Docker 25 it lets ``io_uring`` through, by which most escapes of recent years began, before
23 sockets of AF_VSOCK, which lead to the hypervisor past every rule of a network, and before 29
those of AF_ALG, by which whoever shares an image's files could write to them (CVE-2026-31431). Ours
lets through what Docker 28.2.2 does (https://docs.docker.com/engine/security/seccomp/), but for
that: everything that ``syscalls.txt`` names, and with a capability what that is for. Older engines
pass over calls that they do not know.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlhub.backends.docker.engine import Engine
from mlhub.backends.docker.hosts import HostFacts

ALWAYS = Path(__file__).with_name("syscalls.txt")
STRICT_ENGINE = 29
# For these the conditions below are written.
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": ("SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "SCMP_ARCH_AARCH64": ("SCMP_ARCH_ARM",),
}
WITH_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie"
        " lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount"
        " open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog"
        " umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": (
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"
    ),
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}
ON_ARCHITECTURE = {
    ("amd64", "x32"): "arch_prctl",
    ("amd64", "x32", "x86"): "modify_ldt",
    ("arm", "arm64"): (
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"
    ),
}
AF_ALG, AF_VSOCK = 38, 40
# PER_LINUX and PER_LINUX32, each with UNAME26 too, and the question for the one in force.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW… but CLONE_NEWTIME
ENOSYS = 38  # so the C library goes on with the call whose arguments can be looked at
# The engine's own, and not one that the host's administrator has given it, or none.
_DEFAULTS = frozenset({"name=seccomp,profile=default", "name=seccomp,profile=builtin"})


async def find_profile(engine: Engine, facts: HostFacts) -> str | None:
    """Return the profile that workspaces get, None where they get the engine's own."""
    version, info = await asyncio.gather(engine.read_version(), facts.read())
    if not is_needed(version, info.get("SecurityOptions") or ()):
        return None
    return await asyncio.to_thread(make_profile)


def is_needed(version: Mapping[str, Any], security_options: Iterable[str]) -> bool:
    """Return True if an engine, by what it says of itself, has a default that lets too much
    through.
    """
    names = {component.get("Name") for component in version.get("Components") or ()}
    major = re.match(r"\d+", str(version.get("Version", "")))
    is_old = major is not None and int(major[0]) < STRICT_ENGINE
    is_known = version.get("Arch", "amd64") in ("amd64", "arm64")
    return "Engine" in names and is_old and is_known and not _DEFAULTS.isdisjoint(security_options)


def confine(host_config: dict[str, Any], profile: str) -> None:
    """Add the profile to a container's host config, where the site names none."""
    options = [str(option) for option in host_config.get("security_opt") or []]
    if not any(re.match("seccomp[=:]", option) for option in options):
        host_config["security_opt"] = [*options, f"seccomp={profile}"]


@cache
def make_profile() -> str:
    """Make the profile, as the engine's API takes it."""
    rules = [
        _allow(ALWAYS.read_text()),
        # Older kernels can be passed by with these.
        _allow("process_vm_readv process_vm_writev ptrace", includes={"minKernel": "4.8"}),
        # By this call programs of 32 bits get any socket, and no rule sees which (CVE-2026-112917).
        # Another number than that of the default: else libseccomp lets it through for "socket".
        {"names": ["socketcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        # Two conditions on one argument are no rule, so each range has one.
        _allow("socket", args=[_compare(AF_ALG, "LT")]),
        _allow("socket", args=[_compare(AF_ALG + 1, "EQ")]),
        _allow("socket", args=[_compare(AF_VSOCK, "GT")]),
        *(_allow("personality", args=[_compare(value, "EQ")]) for value in PERSONALITIES),
        _allow(
            "clone",
            args=[_compare(NEW_NAMESPACES, "MASKED_EQ")],
            excludes={"caps": ["CAP_SYS_ADMIN"]},
        ),
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": ENOSYS,
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
        },
    ]
    for capability, calls in WITH_CAPABILITY.items():
        rules.append(_allow(calls, includes={"caps": [capability]}))
    for architectures, calls in ON_ARCHITECTURE.items():
        rules.append(_allow(calls, includes={"arches": list(architectures)}))
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,  # EPERM
        "archMap": [
            {"architecture": name, "subArchitectures": list(inner)}
            for name, inner in ARCHITECTURES.items()
        ],
        "syscalls": rules,
    }
    return json.dumps(profile)


def _allow(calls: str, **conditions: Any) -> dict[str, Any]:
    return {"names": calls.split(), "action": "SCMP_ACT_ALLOW", **conditions}


def _compare(value: int, operator: str) -> dict[str, Any]:
    return {"index": 0, "value": value, "op": f"SCMP_CMP_{operator}"}
