"""The tree that systemd hosts start from: debootstrap, from this machine's own mirror.

Made once for a list of packages and kept in the user's cache. Rules: sources.list(5) in both its
spellings, debootstrap(8); which units cannot work without hardware was measured.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .errors import FleetError
from .light_tree import OPS

PACKAGES = (
    "systemd systemd-sysv dbus libpam-systemd openssh-server python3 git ca-certificates "
    "iproute2 procps curl sudo"
)
# Units that wait for hardware, for the network's own services, or run at times of their own.
MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer "
    "e2scrub_reap.service fstrim.timer systemd-networkd.service systemd-networkd.socket "
    "systemd-resolved.service systemd-timesyncd.service console-getty.service getty@tty1.service "
    "systemd-firstboot.service systemd-machine-id-commit.service systemd-update-utmp.service "
    "systemd-update-utmp-runlevel.service systemd-journald-audit.socket ssh.socket"
)
JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=8M\n"
# Logs where light hosts do.
SSH_UNIT = """[Service]
ExecStart=
ExecStart=/usr/sbin/sshd -D -E /var/log/sshd.log
Type=exec
"""
# systemd-nspawn mounts v1 controllers read-only, and then no unit's limit holds (measured).
INIT = """#!/bin/sh
for controller in /sys/fs/cgroup/*/; do
    mount -o remount,bind,rw "${controller%/}" 2>/dev/null
done
exec /lib/systemd/systemd
"""
INIT_PATH = "usr/local/sbin/fleet-init"
# One field of a deb822 stanza; its value may go on in indented lines.
FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
RECIPE = [PACKAGES, MASKED, JOURNAL, SSH_UNIT, INIT]


def cache() -> Path:
    """Where bases are kept: $XDG_CACHE_HOME/plugfleet-fleet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plugfleet-fleet"


def base() -> Path:
    """The base tree; makes it when there is none yet (about a minute). Raises FleetError."""
    suite, mirror = configured_mirror()
    digest = hashlib.sha256("\n".join([suite, *RECIPE]).encode()).hexdigest()[:16]
    done = cache() / f"base-{digest}"
    if done.is_dir():
        return done
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_dir():  # another made it while this one waited
            draft = cache() / "building"
            shutil.rmtree(draft, ignore_errors=True)
            print(f"making the systemd hosts' base in {done} (once)", file=sys.stderr)
            _bootstrap(draft, suite, mirror)
            _customise(draft)
            draft.rename(done)
    return done


def configured_mirror() -> tuple[str, str]:
    """The suite and mirror of this machine's own Debian. Raises FleetError if apt names none."""
    release = Path("/usr/lib/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=\"?([a-z]+)", release, re.MULTILINE)
    suite = found[1] if found else ""
    for uri, suites, components in _sources(Path("/etc/apt")):
        if suite in suites and "main" in components:
            return suite, uri
    raise FleetError(f"/etc/apt: names no mirror with suite {suite!r} and component main")


def _sources(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """(URI, suites, components) of every binary source in apt's configuration."""
    lists = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    for path in filter(Path.is_file, lists):
        for line in path.read_text().splitlines():
            words = re.sub(r"\[.*?\]", "", line.partition("#")[0]).split()
            if len(words) >= 3 and words[0] == "deb":
                yield words[1], [words[2]], words[3:]
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
            fields = {name: value.split() for name, value in FIELD.findall(stanza)}
            if "deb" in fields.get("Types", []) and fields.get("Enabled") != ["no"]:
                for uri in fields.get("URIs", []):
                    yield uri, fields.get("Suites", []), fields.get("Components", [])


def _bootstrap(tree: Path, suite: str, mirror: str) -> None:
    # In namespaces of its own, so that what it mounts and starts is gone with it.
    # The wait for its end is bound to this process: a builder that is killed leaves none behind.
    bound = ["setpriv", "--pdeathsig=KILL"]
    apart = ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]
    packages = PACKAGES.replace(" ", ",")
    argv = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(tree), mirror]
    with (cache() / "debootstrap.log").open("w") as log:
        done = subprocess.run([*bound, *apart, *argv], stdout=log, stderr=log, check=False)
    if done.returncode != 0:
        said = (cache() / "debootstrap.log").read_text(errors="replace").strip().splitlines()
        raise FleetError(f"debootstrap failed ({cache()}/debootstrap.log): {' / '.join(said[-3:])}")


def _customise(tree: Path) -> None:
    units = tree / "etc/systemd/system"
    for unit in MASKED.split():
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (units / "ssh.service.d").mkdir(exist_ok=True)
    (units / "ssh.service.d/fleet.conf").write_text(SSH_UNIT)
    (tree / "etc/systemd/journald.conf.d").mkdir(exist_ok=True)
    (tree / "etc/systemd/journald.conf.d/fleet.conf").write_text(JOURNAL)
    (tree / INIT_PATH).write_text(INIT)
    (tree / INIT_PATH).chmod(0o755)
    for name, line in {
        "passwd": f"ops:x:{OPS}:{OPS}:may become root by sudo:/home/ops:/bin/bash",
        "group": f"ops:x:{OPS}:",
        "shadow": "ops:*:19000:0:99999:7:::",
        "gshadow": "ops:!::",
    }.items():
        with (tree / "etc" / name).open("a") as file:
            file.write(line + "\n")
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(tree / folder)
        (tree / folder / "partial").mkdir(parents=True)
