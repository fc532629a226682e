"""The tree that light hosts start from: this machine's /usr below fresh /etc, /var, /root, /home.

Nothing else of the machine is in it: no home, no keys, no checkout, no /usr/local. Debian merges
/bin, /sbin and /lib into /usr (since 12), so /usr is a whole set of programs.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from .errors import FleetError
from .fleet import sshd_config

# Public configuration without which programs of /usr do not work.
COPIED = (
    "alternatives ca-certificates.conf debian_version default/useradd environment ld.so.cache "
    "ld.so.conf ld.so.conf.d localtime login.defs nsswitch.conf pam.conf pam.d profile protocols "
    "python3* rpc security services shells ssl/certs ssl/openssl.cnf terminfo xattr.conf"
)
FOLDERS = {
    0o755: (
        "boot dev/pts dev/shm etc/ssh etc/sudoers.d home media mnt opt proc run srv sys usr "
        "var/cache var/lib var/local var/log var/opt var/spool"
    ),
    0o700: "root root/.ssh home/ops home/ops/.ssh",
    0o1777: "tmp var/tmp",
}
DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
OPS = 1000
PASSWD = f"""root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
sshd:x:105:65534::/run/sshd:/usr/sbin/nologin
ops:x:{OPS}:{OPS}:may become root by sudo:/home/ops:/bin/bash
"""
GROUP = f"""root:x:0:
daemon:x:1:
tty:x:5:
shadow:x:42:
nogroup:x:65534:
ops:x:{OPS}:
"""


def sshd_settings() -> str:
    """The SSH server's configuration on hosts that have a file system of their own."""
    return sshd_config(
        Port="22",
        ListenAddress="0.0.0.0",
        HostKey="/etc/ssh/ssh_host_key",
        AuthorizedKeysFile=".ssh/authorized_keys",
    )


def add_access(tree: Path, public_key: str, hosts: str) -> None:
    """Lets root and the user `ops` in by `public_key` and names all hosts."""
    for home, owner in (("root", 0), ("home/ops", OPS)):
        (tree / home / ".ssh").mkdir(mode=0o700, parents=True, exist_ok=True)
        (tree / home / ".ssh/authorized_keys").write_text(public_key)
        for path in (tree / home, tree / home / ".ssh", tree / home / ".ssh/authorized_keys"):
            os.chown(path, owner, owner)
    (tree / "etc/ssh/sshd_config").write_text(sshd_settings())
    (tree / "etc/hosts").write_text(hosts)
    (tree / "etc/sudoers").write_text(
        "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\nops ALL=(ALL:ALL) NOPASSWD: ALL\n"
        "@includedir /etc/sudoers.d\n"
    )
    (tree / "etc/sudoers").chmod(0o440)


def make(tree: Path, mask: Path, public_key: str, hosts: str) -> None:
    """Makes the tree at `tree`, and at `mask` what hides this machine's own programs.

    Raises FleetError on a machine whose /bin is not a link into /usr.
    """
    for mode, names in FOLDERS.items():
        for name in names.split():
            (tree / name).mkdir(parents=True, exist_ok=True)
            (tree / name).chmod(mode)
    for entry in sorted(Path("/").glob("*bin")) + sorted(Path("/").glob("lib*")):
        if entry.is_symlink():
            (tree / entry.name).symlink_to(os.readlink(entry))
        else:
            raise FleetError(f"{entry}: is not a link into /usr; light hosts need Debian 12")
    for source in [path for name in COPIED.split() for path in Path("/etc").glob(name)]:
        target = tree / source.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target, follow_symlinks=False)
    (tree / "etc/os-release").symlink_to("../usr/lib/os-release")
    (tree / "etc/mtab").symlink_to("../proc/self/mounts")
    for name in ("run", "lock"):
        (tree / "var" / name).symlink_to("/run" + ("/lock" if name == "lock" else ""))
    (tree / "etc/passwd").write_text(PASSWD)
    (tree / "etc/group").write_text(GROUP)
    (tree / "etc/shadow").write_text("".join(f"{u}:*:19000:0:99999:7:::\n" for u in _users()))
    (tree / "etc/shadow").chmod(0o640)
    _make_devices(tree / "dev")
    add_access(tree, public_key, hosts)
    (mask / "local").mkdir(parents=True)
    os.setxattr(mask / "local", "trusted.overlay.opaque", b"y")


def _users() -> list[str]:
    return [line.split(":")[0] for line in PASSWD.splitlines()]


def _make_devices(folder: Path) -> None:
    for name, minor in DEVICES.items():
        os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (folder / name).chmod(0o666)
    os.mknod(folder / "tty", stat.S_IFCHR | 0o666, os.makedev(5, 0))
    (folder / "tty").chmod(0o666)
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0"}
    links.update(stdout="/proc/self/fd/1", stderr="/proc/self/fd/2")
    for name, target in links.items():
        (folder / name).symlink_to(target)
