"""A certificate authority of the test's own, by the openssl command line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """Paths: the server's chain and key, and the authority that a client must be told to trust."""

    chain: Path
    key: Path
    authority: Path


def make(folder: Path, addresses: list[str], env: dict[str, str]) -> Certificate:
    """Makes an authority in `folder`, and a certificate for localhost and `addresses` (30 days)."""
    folder.mkdir(mode=0o700, parents=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    names = ",".join(["DNS:localhost", *(f"IP:{address}" for address in addresses)])
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=plugfleet test authority"]
    server = ["-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=plugfleet test server"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName={names}"]
    usage = ["-addext", "basicConstraints=critical,CA:FALSE"]
    for arguments in (authority, [*server, *signed, *usage]):
        argv = ["openssl", "req", "-x509", *key, *arguments]
        subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True)
    return Certificate(folder / "server.pem", folder / "server.key", folder / "ca.pem")
