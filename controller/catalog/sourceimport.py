"""What an import of sources wants, from a list or a repository of submodules, and what it would do.

A plan is the work itself, taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from controller.auth.principal import Principal
from controller.catalog.errors import SourceError
from controller.catalog.flow import Publisher
from controller.catalog.importing import Outcome, Wanted, store
from controller.catalog.importschemas import SourceImport
from controller.catalog.schemas import Credentials
from controller.catalog.sources import Source
from controller.catalog.submodules import Submodule
from controller.catalog.urls import check_ref, parse_source_url
from controller.errors import Invalid


@dataclass(frozen=True)
class Importer:
    """Imports sources; holds no transaction while git works."""

    publisher: Publisher

    def wanted(self, by: Principal, request: SourceImport) -> list[Wanted]:
        """What a request wants; reads the repository of submodules, and fetches sources if asked to.

        Raises:
            Invalid: the repository must not be used.
            CatalogError: it cannot be fetched, or holds no submodules.
        """
        by.need_whole_fleet("a source")
        if request.repository is None:
            found = [
                Wanted(
                    place=f"body.sources.{number}",
                    path=_joined(request.under, entry.path),
                    url=entry.url,
                    ref=entry.ref,
                    subdir=entry.subdir,
                    name=entry.name or "",
                    credentials=_plain(entry.credentials),
                )
                for number, entry in enumerate(request.sources or [])
            ]
        else:
            found = self._of_submodules(request)
        return self._fetched(by, found) if request.fetch else found

    def plan(self, by: Principal, wanted: Iterable[Wanted]) -> Outcome:
        """What an import would come to; refused sources are lines of it."""
        try:
            with self.publisher.database.write() as session:
                outcome = store(session, by, self.publisher.vault, wanted)
                raise _TakeBack
        except _TakeBack:
            return outcome

    def _of_submodules(self, request: SourceImport) -> list[Wanted]:
        asked = request.repository
        assert asked is not None  # the caller looked
        credentials = _plain(asked.credentials)
        try:
            url = parse_source_url(asked.url, base=Path("/"))
            if url.clean.startswith("/") and not asked.url.startswith("/"):
                raise SourceError(
                    f"{asked.url!r} is a relative path; give an absolute one, or a URL"
                )
            if credentials:
                if not url.clean.startswith("https://"):
                    raise SourceError("a user and password are sent over https:// only")
                url = replace(url, **credentials)
            elif url.password:
                credentials = {"username": url.username, "password": url.password}
            source = Source("", url, check_ref(asked.ref))
        except SourceError as error:
            fields = [{"field": "body.repository", "message": str(error)}]
            raise Invalid(str(error), fields=fields) from None
        return [
            _of_submodule(submodule, request.under, url.clean, credentials)
            for submodule in self.publisher.catalog.looks.submodules(
                source, timeout=self.publisher.timeout
            )
        ]

    def _fetched(self, by: Principal, wanted: Sequence[Wanted]) -> list[Wanted]:
        """The same, those refused that are new or changed and do not answer with their commit."""
        sources = self.plan(by, wanted).sources
        wrong = self.publisher.catalog.looks.unfetchable(
            list(sources.values()), timeout=self.publisher.timeout
        )
        by_place = {place: wrong.get(source.path, "") for place, source in sources.items()}
        return [replace(w, refused=w.refused or by_place.get(w.place, "")) for w in wanted]


class _TakeBack(Exception):
    """Ends a transaction that was only to see what it would do."""


def _of_submodule(
    submodule: Submodule, under: str, base: str, credentials: dict[str, str] | None
) -> Wanted:
    same_server = urlsplit(submodule.url)[:2] == urlsplit(base)[:2] if credentials else False
    return Wanted(
        place=f"submodule {submodule.path}",
        path=_joined(under, submodule.path.rpartition("/")[2]),
        url=submodule.url,
        ref=submodule.commit,
        credentials=credentials if same_server else None,
        refused=submodule.refused,
    )


def _joined(under: str, path: str) -> str:
    return "/".join(part for part in (under.strip("/"), path.strip("/")) if part)


def _plain(credentials: Credentials | None) -> dict[str, str] | None:
    return credentials.model_dump() if credentials else None
