"""Action `plugin_source`: publish the release that the hosts should have, once, on the control node."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.inventory.helpers import sort_groups
from ansible.plugins.action import ActionBase

# The roles work from a checkout, where nothing is installed: its rooms are importable from its top.
_CHECKOUT = str(Path(__file__).resolve().parents[3])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from controller.bindings.static import (  # noqa: E402
    BindingsError,
    Host,
    check_bindings,
    check_hostgroups,
    parse_bindings,
    parse_overrides,
)
from controller.catalog.errors import CatalogError, LintError  # noqa: E402
from controller.catalog.publish import Catalog, Published  # noqa: E402
from controller.catalog.releases import Release  # noqa: E402
from controller.catalog.sources import FetchedSource, parse_sources  # noqa: E402
from controller.catalog.tree import GitTree  # noqa: E402
from roles.plugin_source.control.release import (  # noqa: E402
    ReleaseOptionError,
    parse_release,
    take,
)

_OPTIONS = {
    "sources",
    "bindings",
    "folder",
    "timeout",
    "rollback_to",
    "release",
    "controller",
}


class OptionError(Exception):
    """An option of the task is of the wrong kind."""


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Fetch, compose, lint and publish, or take a release that a controller published; then hold the
    bindings against it.

    Returns `release`, `changes` (against the release before), `warnings`, and of the bindings only
    how many there are (`bound`): whoever reads a run's events would read their secrets. Runs once for
    a play, opens no connection to any host.
    """

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        unknown = sorted(set(self._task.args) - _OPTIONS)
        if unknown:
            return result | {"failed": True, "msg": f"unknown options: {', '.join(unknown)}"}
        try:
            result |= self._publish(dict(self._task.args), task_vars or {})
        except LintError as error:
            result |= {"failed": True, "msg": str(error), "problems": error.problems}
        except (CatalogError, BindingsError, OptionError, ReleaseOptionError) as error:
            result |= {"failed": True, "msg": str(error)}
        return result

    def _publish(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        bindings = parse_bindings(options.get("bindings") or {})
        groups = task_vars.get("groups", {})
        check_hostgroups(bindings, groups)
        timeout = _number("plugin_source_timeout", options.get("timeout") or 60)
        rollback_to = int(_number("plugin_source_rollback_to", options.get("rollback_to") or 0))
        catalog = Catalog(Path(options["folder"]).expanduser().absolute())
        dry_run = bool(self._task.check_mode)
        by = f"{getpass.getuser()} with ansible-playbook"
        warnings: list[str] = []

        def approve(tree: GitTree, _: Sequence[FetchedSource]) -> None:
            warnings.extend(check_bindings(bindings, tree, hosts))

        def hosts(group: str) -> Iterator[Host]:
            inventory = self._task.get_variable_manager()._inventory
            for name in groups.get(group, ()):
                own = task_vars.get("hostvars", {})[name].get("plugin_config_overrides") or {}
                of_host = sort_groups(inventory.get_host(name).get_groups())
                yield [found.name for found in of_host], parse_overrides(own)

        if options.get("release"):
            if rollback_to:
                raise OptionError(
                    "plugin_source_rollback_to cannot be used with plugin_source_release: the release that "
                    "the hosts should have is the controller's to say; use playbooks/rollback.yml"
                )
            release = take(
                catalog,
                parse_release(options["release"]),
                controller=str(options.get("controller") or ""),
                token=os.environ.get("PLUGFLEET_TOKEN", ""),
                timeout=timeout,
            )
            approve(catalog.tree(release.commit), ())
            published = Published(release, release.tree, False, [], [])
        elif rollback_to:
            published = catalog.rollback(rollback_to, dry_run=dry_run, by=by, approve=approve)
        else:
            sources = parse_sources(options.get("sources"), base=Path(self._loader.get_basedir()))
            published = catalog.publish(
                sources, timeout=timeout, dry_run=dry_run, by=by, approve=approve
            )
        warnings += [
            f"{p['path']}: {p['message']} [{p['code']}]"
            for p in published.problems
            if p["severity"] == "warning"
        ]
        newest = published.release
        return {
            "changed": published.changed,
            "msg": _sentence(published, dry_run),
            "release": newest.as_dict() if newest else None,
            "would_publish": published.changed and dry_run,
            "tree": published.tree,
            "changes": published.changes,
            "repository": str(catalog.repository.path),
            "bound": {group: len(entries) for group, entries in sorted(bindings.items())},
            "warnings": warnings,
            "diff": _diff(published, newest),
        }


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0:
        raise OptionError(f"{name} must be a number, 0 or more, not {value!r}")
    return number


def _sentence(published: Published, dry_run: bool) -> str:
    release = published.release
    count = len(published.changes)
    files = f"{count} file{'' if count == 1 else 's'}"
    if published.changed and dry_run:
        return f"would publish a new release ({files} differ)"
    if release is None:
        return "nothing published"
    if published.changed:
        return f"published release {release.number} ({release.commit[:12]}, {files} differ)"
    return f"release {release.number} ({release.commit[:12]}) is the one to have; nothing changed"


def _diff(published: Published, release: Release | None) -> list[dict[str, str]]:
    if not published.changes:
        return []
    header = f"plugin tree of release {release.number if release else 0}"
    return [{"prepared": "\n".join([header, *published.changes]) + "\n"}]
