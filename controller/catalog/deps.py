"""What routes need of the catalog: the publisher, and the newest release's tree."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from controller.catalog.flow import Publisher
from controller.catalog.tree import GitTree
from controller.web.deps import Context, Open


def publisher_of(opened: Context) -> Publisher:
    """The publisher of what a controller has open."""
    return Publisher(opened.database, opened.vault, opened.catalog, opened.settings.source_timeout)


def publisher(opened: Open) -> Publisher:
    """The publisher of a route's controller."""
    return publisher_of(opened)


Publishing = Annotated[Publisher, Depends(publisher)]


def newest_tree(publishing: Publishing) -> GitTree | None:
    """The newest release's tree, or None; git works before the route's own session begins."""
    return publishing.newest_tree()
