"""Which Debian packages a fleet needs, and the one command that installs what is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .errors import FleetError

# A program that shows that its package is here, by package; a leading slash is a file's path.
_LOOPBACK = {"openssh-server": "sshd", "openssh-client": "ssh"}
_SWITCHED = {
    **_LOOPBACK,
    "iproute2": "ip",
    "util-linux": "unshare",
    "mount": "mount",
    "git": "git",
    "sudo": "sudo",
    "python3": "/usr/bin/python3",
}
NEEDS: dict[str, dict[str, str]] = {
    "loopback": _LOOPBACK,
    "namespace": _SWITCHED,
    "systemd": {
        **_SWITCHED,
        "systemd-container": "systemd-nspawn",
        "debootstrap": "debootstrap",
        "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    },
    "clock": {"gcc": "gcc", "libc6-dev": "/usr/include/time.h"},
    "git": {"git": "git", "openssl": "openssl"},
}
ROOT_ONLY = ("namespace", "systemd")
_PATH = os.pathsep.join(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])


def _here(sign: str) -> bool:
    if sign.startswith("/"):
        return any(Path("/").glob(sign[1:]))
    return shutil.which(sign, path=_PATH) is not None


def missing(kind: str) -> list[str]:
    """The packages that a fleet of `kind` needs and this machine does not have."""
    return sorted(package for package, sign in NEEDS[kind].items() if not _here(sign))


def command(packages: list[str]) -> str:
    """The one command that installs `packages`."""
    return "apt-get install -y --no-install-recommends " + " ".join(packages)


def require(kind: str) -> None:
    """Raises FleetError that says what to do when a fleet of `kind` cannot be made here."""
    if kind in ROOT_ONLY and os.geteuid() != 0:
        raise FleetError(f"a {kind} fleet makes network namespaces: run this as root")
    packages = missing(kind)
    if packages:
        raise FleetError(f"a {kind} fleet needs Debian packages. Run: {command(packages)}")
    if kind in ROOT_ONLY and not _may_administer():
        raise FleetError(
            f"a {kind} fleet needs CAP_SYS_ADMIN, which this root does not have: "
            "run on a machine of its own or in a privileged container"
        )


def _may_administer() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 21 & 1)
    return False
