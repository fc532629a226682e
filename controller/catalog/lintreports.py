"""The lint's reports on trees, kept in files: linting a tree twice costs what looking into one does not."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import agentplugin
from agentplugin.lint import lint_tree
from controller.catalog import compose, manifestschema
from controller.catalog.git import Repository

_MOST_REPORTS = 100  # that are kept: of trees that are looked at again and again
_PARTIAL_FOR = 3600.0  # seconds after which a report that is being written was given up


class Reports:
    """Reports on trees of a repository, in a folder that is made when the first one is written."""

    def __init__(self, folder: Path, repository: Repository) -> None:
        self._folder = folder
        self._repository = repository

    def of(self, tree: str) -> dict[str, Any]:
        """Lint a tree; the report on a tree already seen comes from a file.

        Raises:
            CatalogError: the tree is not in the repository.
        """
        kept = self._folder / f"{tree}{_suffix()}"
        try:
            report: dict[str, Any] = json.loads(kept.read_text())
        except (OSError, ValueError):
            with tempfile.TemporaryDirectory(prefix="plugfleet-lint-") as scratch:
                compose.export(self._repository, tree, Path(scratch))
                report = lint_tree(scratch, manifestschema.faults).as_dict()
            self._folder.mkdir(exist_ok=True)
            partial = kept.with_suffix(f".{uuid.uuid4().hex}.tmp")
            partial.write_text(json.dumps(report))
            partial.replace(kept)
            self._forget()
        return report

    def _forget(self) -> None:
        """Remove reports of older rules, of runs that were killed, and all but the newest of the others.

        Releases keep their findings in their rows; these only save the time of linting a tree twice.
        """
        dated = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another controller's process tidies up too
                dated.append((file.stat().st_mtime, file))
        current = [file for _, file in sorted(dated, reverse=True) if file.name.endswith(_suffix())]
        wanted = set(current[:_MOST_REPORTS])
        late = time.time() - _PARTIAL_FOR
        for written, file in dated:
            if file not in wanted and (file.suffix != ".tmp" or written < late):
                file.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _suffix() -> str:
    """How names of reports end: with a digest of the lint's own source, so that findings of older
    rules are not used again.
    """
    digest = hashlib.sha256()
    rules = sorted(Path(agentplugin.__file__).parent.glob("*.py"))
    for path in [*rules, Path(manifestschema.__file__)]:
        digest.update(path.read_bytes())
    return f"-{digest.hexdigest()[:16]}.report.json"
