"""Who asks: a token's name, scope and hostgroups, as services take it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.auth.models import Scope
from controller.errors import Forbidden


@dataclass(frozen=True)
class Principal:
    """Who asks for something.

    Attributes:
        name: the token's name; what the audit log shows.
        hostgroups: names that it is limited to, or None for the whole fleet.
        token_id: the token's row, or None for the controller itself.
        request_id: the request that it asks with.
    """

    name: str
    scope: Scope
    hostgroups: frozenset[str] | None = None
    token_id: int | None = None
    request_id: str = ""

    def need(self, scope: Scope) -> None:
        """Refuse where the scope does not reach.

        Raises:
            Forbidden: says which scope is needed.
        """
        if not self.scope.includes(scope):
            raise Forbidden(
                f"token {self.name!r} has scope {self.scope.value}; this needs {scope.value}"
            )

    def sees_hostgroup(self, name: str) -> bool:
        """Whether it is told of a hostgroup."""
        return self.hostgroups is None or name in self.hostgroups

    def need_hostgroups(self, names: Iterable[str]) -> None:
        """Refuse what is outside the token's hostgroups.

        Raises:
            Forbidden: names the hostgroups.
        """
        if self.hostgroups is None:
            return
        outside = sorted(set(names) - self.hostgroups)
        if outside:
            raise Forbidden(
                f"token {self.name!r} is limited to {', '.join(sorted(self.hostgroups)) or 'nothing'}; "
                f"not to {', '.join(outside)}"
            )

    def need_whole_fleet(self, what: str) -> None:
        """Refuse a limited token something that concerns all hosts.

        Raises:
            Forbidden: says what.
        """
        if self.hostgroups is not None:
            raise Forbidden(
                f"{what} concerns the whole fleet; token {self.name!r} is limited to "
                f"{', '.join(sorted(self.hostgroups)) or 'nothing'}"
            )


CONTROLLER = Principal("controller", Scope.ADMIN)
# With spaces, which no token's name has: nobody else can look like it in the audit log.
CONSOLE = Principal("console of the machine", Scope.ADMIN)
