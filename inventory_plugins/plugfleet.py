"""Inventory plugin `plugfleet`: the controller's hosts, hostgroups, plans and connection variables.

What it reads is docs/rest-api.md's `GET /api/v1/inventory`. It lies in a plain folder that ansible.cfg
names, as AWX's inventory updates find only that; and it needs nothing but the checkout that it lies in,
so that it works in any execution environment.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import urllib.parse
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable

# Plugins of Ansible work from a checkout, where nothing is installed: its rooms are importable from its top.
_CHECKOUT = str(Path(__file__).resolve().parents[1])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from roles.plugin_source.control.asking import (  # noqa: E402
    NotReachable,
    NotTrusted,
    Refused,
    ask,
)

DOCUMENTATION = """
name: plugfleet
short_description: Hosts, hostgroups and plans of a plugfleet controller
description:
  - Reads the whole inventory in one request. What was read last is kept and asked for again with its ETag,
    so that an unchanged inventory costs the controller next to nothing.
  - Composes the groups C(pf_converged), C(pf_drifted), C(pf_pending), C(pf_failed) and C(pf_unreachable) by
    the state of the hosts, beside a group for every hostgroup.
  - Yields nothing where no URL is given, so that a checkout works without a controller too.
  - The file must be called C(*plugfleet.yml) or C(*plugfleet.yaml).
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: Says that a file is this plugin's.
    required: true
    choices: [plugfleet]
  url:
    description: Where the controller answers; without a path.
    type: str
    default: ""
    env:
      - name: PLUGFLEET_URL
  token:
    description:
      - A token of the controller. It needs scope operator where O(secrets) is on.
    type: str
    default: ""
    env:
      - name: PLUGFLEET_TOKEN
  hostgroup:
    description: Only the hosts of this hostgroup; empty is all.
    type: str
    default: ""
    env:
      - name: PLUGFLEET_HOSTGROUP
  secrets:
    description:
      - Read the values of secret variables too, such as C(ansible_password). Deploying needs them where hosts
        have any; for looking only, turn it off and take a viewer token.
    type: bool
    default: true
    env:
      - name: PLUGFLEET_INVENTORY_SECRETS
  timeout:
    description: Seconds that the controller may take to answer.
    type: float
    default: 30
  validate_certs:
    description: Hold the controller's certificate against the known authorities.
    type: bool
    default: true
    env:
      - name: PLUGFLEET_VALIDATE_CERTS
  ca_path:
    description: File with further authorities.
    type: path
    env:
      - name: PLUGFLEET_CA_FILE
  cached:
    description: Keep what was read last, to ask for it again with its ETag.
    type: bool
    default: true
  cache_dir:
    description:
      - Folder of what was read last; only its owner can read it. Empty is a folder in the user's runtime
        directory or in /dev/shm, which are memory, since there may be secrets in it.
    type: path
    env:
      - name: PLUGFLEET_INVENTORY_CACHE
  stale_ok:
    description:
      - Take what was read last where the controller does not answer, with a warning, rather than fail.
    type: bool
    default: false
    env:
      - name: PLUGFLEET_INVENTORY_STALE_OK
"""

EXAMPLES = """
# inventory/controller.plugfleet.yml; PLUGFLEET_URL and PLUGFLEET_TOKEN in the environment
plugin: plugfleet

# Groups of your own by the hosts' variables
---
plugin: plugfleet
url: https://plugfleet.example.com
keyed_groups:
  - key: agent_config_kind
    prefix: agent
"""

_MOST_BYTES = 256 << 20


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]  # ansible-core has no types
    """Reads the controller's inventory document."""

    NAME = "plugfleet"
    # Who may write variables in the controller may run anything on its hosts anyway.
    trusted_by_default = True

    def verify_file(self, path: str) -> bool:
        """Whether a file is this plugin's."""
        return bool(super().verify_file(path)) and path.endswith(
            ("plugfleet.yml", "plugfleet.yaml")
        )

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill Ansible's inventory.

        Raises:
            AnsibleParserError: the controller cannot be read; says why and what to do.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        url = str(self.get_option("url")).rstrip("/")
        if not url:
            self.display.vv(f"{path}: no url and no PLUGFLEET_URL, so no hosts of a controller")
            return
        if not url.startswith(("http://", "https://")):
            raise AnsibleParserError(
                f"plugfleet: url must begin with https:// or http://, not {url!r}"
            )
        if not self.get_option("token"):
            raise AnsibleParserError(
                f"plugfleet: {url} needs a token; set PLUGFLEET_TOKEN, or `token` in {path}"
            )
        self._populate(self._document(url, fresh=not cache), url)

    def _document(self, url: str, *, fresh: bool) -> Mapping[str, Any]:
        """The inventory document; `fresh` asks for it whole, as --flush-cache wants it."""
        query = {"hostgroup": self.get_option("hostgroup")} if self.get_option("hostgroup") else {}
        if self.get_option("secrets"):
            query["secrets"] = "true"
        address = f"{url}/api/v1/inventory?{urllib.parse.urlencode(query)}".rstrip("?")
        token = str(self.get_option("token"))
        kept = _Kept(self._folder(), address, token) if self.get_option("cached") else None
        etag, body = kept.read() if kept else ("", b"")
        try:
            answered = self._ask(address, "" if fresh else etag)
        except _NotNow as error:
            if not (body and self.get_option("stale_ok")):
                raise AnsibleParserError(f"plugfleet: {error}") from None
            self.display.warning(
                f"plugfleet: {error}; going on with the inventory that was read last"
            )
            return _parsed(body, address)
        if answered is None:
            return _parsed(body, address)
        etag, body = answered
        document = _parsed(body, address)
        if kept and etag:
            try:
                kept.write(etag, body)
            except OSError as error:
                self.display.warning(
                    f"plugfleet: the inventory cannot be kept for next time: {error}"
                )
        return document

    def _ask(self, address: str, etag: str) -> tuple[str, bytes] | None:
        """ETag and body, or None where the document is still the one of the ETag given."""
        headers = {"Accept": "application/json"}
        if etag:
            headers["If-None-Match"] = etag
        try:
            answer = ask(
                self.get_option,
                address,
                program="plugfleet-inventory",
                headers=headers,
                most=_MOST_BYTES + 1,
            )
        except Refused as error:
            if error.status == 304:
                return None
            said = "; ".join(part for part in (error.detail, error.hint) if part)
            message = f"{address} answered {error.status}{f': {said}' if said else ''}"
            if error.status >= 500:
                raise _NotNow(message) from None
            hint = "; it needs scope operator, or `secrets: false`" if error.status == 403 else ""
            raise AnsibleParserError(f"plugfleet: {message}{hint}") from None
        except NotTrusted as error:
            raise AnsibleParserError(f"plugfleet: {error}") from None
        except NotReachable as error:
            raise _NotNow(f"the controller {address} cannot be reached: {error}") from None
        if len(answer.body) > _MOST_BYTES:
            raise AnsibleParserError(f"plugfleet: {address} answered without end")
        return answer.etag, answer.body

    def _folder(self) -> Path:
        given = self.get_option("cache_dir")
        if given:
            return Path(given).expanduser()
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        if runtime and os.path.isdir(runtime):
            return Path(runtime, "plugfleet")
        return Path(
            "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir(),
            f"plugfleet-{os.getuid()}",
        )

    def _populate(self, document: Mapping[str, Any], url: str) -> None:
        """Take a document in Ansible's script-inventory form over."""
        inventory = self.inventory
        assert inventory is not None
        hostvars = document["_meta"]["hostvars"]
        # Ansible would give a hostgroup the variables of a host of its name, address and all.
        for host in sorted(set(hostvars) & set(document)):
            self.display.warning(f"host {host} is left out: there is a hostgroup of that name")
        hostvars = {host: own for host, own in hostvars.items() if host not in document}
        for host in hostvars:
            inventory.add_host(host)
        for name, group in document.items():
            if name == "_meta":
                continue
            name = inventory.add_group(name)
            for child in group.get("children", ()):
                inventory.add_child(name, inventory.add_group(child))
            for variable, value in group.get("vars", {}).items():
                # A group_vars/all beside the inventory file would win over `plugin_bindings` of
                # ours, and the hosts would get the bindings of a file nobody thinks of any more.
                known_as = "plugin_source_bindings" if variable == "plugin_bindings" else variable
                # Its release comes, and its report goes, where the inventory could be had.
                value = url if value and variable == "plugin_source_controller" else value
                inventory.set_variable(name, known_as, value)
            for host in group.get("hosts", ()):
                if host in hostvars:
                    inventory.add_host(host, name)
        for host, variables in hostvars.items():
            for variable, value in variables.items():
                inventory.set_variable(host, variable, value)
        self._compose_groups(hostvars)

    def _compose_groups(self, hostvars: Mapping[str, Mapping[str, Any]]) -> None:
        """`compose`, `groups` and `keyed_groups` of the file, where it has any."""
        compose, groups, keyed = (
            self.get_option(name) for name in ("compose", "groups", "keyed_groups")
        )
        if not (compose or groups or keyed):
            return
        strict = self.get_option("strict")
        for host, variables in hostvars.items():
            self._set_composite_vars(compose, variables, host, strict=strict)
            self._add_host_to_composed_groups(groups, variables, host, strict=strict)
            self._add_host_to_keyed_groups(keyed, variables, host, strict=strict)


class _NotNow(Exception):
    """The controller gives no answer, for now."""


class _Kept:
    """What was read last: a line with the ETag, then the body.

    Ansible's own file cache would let every user of the machine read it (mode 0644), and would
    throw it away by age, where only the controller knows whether it still holds.
    """

    def __init__(self, folder: Path, address: str, token: str) -> None:
        self._folder = folder
        # What a token may see is its own.
        self._file = folder / f"inventory-{sha256(f'{address} {token}'.encode()).hexdigest()[:32]}"

    def read(self) -> tuple[str, bytes]:
        """ETag and body; both empty where nothing was kept that can be trusted."""
        try:
            self._check_folder()
            etag, _, body = self._file.read_bytes().partition(b"\n")
            json.loads(body)
            return etag.decode("ascii"), body
        except (OSError, ValueError):
            return "", b""

    def write(self, etag: str, body: bytes) -> None:
        """Keep a document, whole or not at all.

        Raises:
            OSError: it cannot be written, or the folder is somebody else's.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_folder()
        handle, partial = tempfile.mkstemp(dir=self._folder, prefix="new-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(etag.encode("ascii", "replace") + b"\n" + body)
            os.replace(partial, self._file)
        except BaseException:
            os.unlink(partial)
            raise

    def _check_folder(self) -> None:
        """In a folder that everybody may write to, a name can be taken by somebody else."""
        found = os.lstat(self._folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{self._folder} must be a folder that only you can read")


def _parsed(body: bytes, address: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
        if isinstance(document["_meta"]["hostvars"], dict):
            found: Mapping[str, Any] = document
            return found
    except (ValueError, KeyError, TypeError):
        pass
    raise AnsibleParserError(
        f"plugfleet: {address} answered something else than an inventory; is it a controller's URL?"
    )
