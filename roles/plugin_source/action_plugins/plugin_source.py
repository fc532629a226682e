"""Action `plugin_source`: publish the release that the hosts should have, once, on the control node."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# The roles work from a checkout, where nothing is installed: its rooms are importable from its top.
_CHECKOUT = str(Path(__file__).resolve().parents[3])
if _CHECKOUT not in sys.path:
    sys.path.insert(0, _CHECKOUT)

from controller.bindings.static import (  # noqa: E402
    BindingsError,
    check_bindings,
    parse_bindings,
)
from controller.catalog.errors import CatalogError, LintError  # noqa: E402
from controller.catalog.publish import Catalog, Published  # noqa: E402
from controller.catalog.releases import Release  # noqa: E402
from controller.catalog.sources import parse_sources  # noqa: E402
from controller.catalog.tree import GitTree  # noqa: E402

_OPTIONS = {"sources", "bindings", "folder", "timeout", "rollback_to"}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Fetch, compose, lint and publish; then hold the bindings against the release.

    Returns `release`, `changes` (against the release before), `warnings`, and `bindings`. Runs
    once for a play, opens no connection to any host.
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
            result |= self._publish(dict(self._task.args))
        except LintError as error:
            result |= {"failed": True, "msg": str(error), "problems": error.problems}
        except (CatalogError, BindingsError) as error:
            result |= {"failed": True, "msg": str(error)}
        return result

    def _publish(self, options: dict[str, Any]) -> dict[str, Any]:
        bindings = parse_bindings(options.get("bindings") or {})
        folder = Path(options["folder"]).expanduser().absolute()
        catalog = Catalog(folder)
        dry_run = bool(self._task.check_mode)
        by = f"{getpass.getuser()} with ansible-playbook"
        rollback_to = int(options.get("rollback_to") or 0)
        if rollback_to:
            published = catalog.rollback(rollback_to, dry_run=dry_run, by=by)
        else:
            sources = parse_sources(options.get("sources"), base=Path(self._loader.get_basedir()))
            timeout = float(options.get("timeout") or 60)
            published = catalog.publish(sources, timeout=timeout, dry_run=dry_run, by=by)
        warnings = [
            f"{p['path']}: {p['message']} [{p['code']}]"
            for p in published.problems
            if p["severity"] == "warning"
        ]
        warnings += check_bindings(bindings, GitTree(catalog.repository, published.tree))
        release = published.release
        return {
            "changed": published.changed,
            "msg": _sentence(published, dry_run),
            "release": release.as_dict() if release else None,
            "would_publish": published.changed and dry_run,
            "tree": published.tree,
            "changes": published.changes,
            "repository": str(catalog.repository.path),
            "bindings": bindings,
            "warnings": warnings,
            "diff": _diff(published, release),
        }


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
    return f"release {release.number} ({release.commit[:12]}) is the newest; nothing changed"


def _diff(published: Published, release: Release | None) -> list[dict[str, str]]:
    if not published.changes:
        return []
    header = f"plugin tree of release {release.number if release else 0}"
    return [{"prepared": "\n".join([header, *published.changes]) + "\n"}]
