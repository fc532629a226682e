"""One object of AWX's: made, changed, or removed, so that it is as it should be.

What was made here has a mark in its description, which names the organisation that it was made for, and the
prefix, as two set-ups may share an organisation. Only such objects are changed or removed: an object of somebody
else's that has the same name is an error. Names of credential types and execution environments are unique in all
of AWX, so that another organisation's may be met.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from roles.awx_setup.control.client import Awx, Object
from roles.awx_setup.control.compare import differing, shown
from roles.awx_setup.control.refusals import AwxError
from roles.awx_setup.control.removal import await_gone, remove

_MARK = "[made by plugfleet's awx-setup"
# Kinds whose objects belong to an organisation, so that two organisations may use a name twice.
_IN_ORGANIZATION = {
    "credentials",
    "projects",
    "inventories",
    "job_templates",
    "workflow_job_templates",
    "notification_templates",
}
# What goes with an organisation, or loses it.
_BELONGING = (
    "projects",
    "job_templates",
    "execution_environments",
    "inventories",
    "credentials",
    "workflow_job_templates",
    "notification_templates",
    "teams",
)


def mark(organization: str, prefix: str) -> str:
    """What the descriptions of the objects end with that one set-up made."""
    return f"{_MARK} for {organization}: {prefix}]"


@dataclass(frozen=True)
class Reference:
    """Another object, by kind and name."""

    kind: str
    name: str

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Reference:
        """From `{kind, name}`."""
        return cls(str(value["kind"]), str(value["name"]))

    def __str__(self) -> str:
        one = re.sub("ies$", "y", self.kind).removesuffix("s")
        return f"{one.replace('_', ' ')} {self.name!r}"


@dataclass(frozen=True)
class Wanted:
    """An object as it should be.

    Attributes:
        fields: values that it has.
        refers: field -> object whose id it holds; None where it holds none.
        links: sub-path -> objects that are linked below it, all and no others.
        within: field of `refers` that names what it belongs to, where names are unique only there.
        keeps: sub-path -> names; what stands there otherwise, and was made here, is removed.
        survey: its survey; None where it has none.
        shared: an object of this name is used as it is, whoever made it.
    """

    kind: str
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    refers: Mapping[str, Reference | None] = field(default_factory=dict)
    links: Mapping[str, list[Reference]] = field(default_factory=dict)
    keeps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    within: str = ""
    survey: Mapping[str, Any] | None = None
    shared: bool = False

    def __str__(self) -> str:
        return str(Reference(self.kind, self.name))


@dataclass
class Outcome:
    """What came of an object.

    Attributes:
        found: the object as AWX has it now; None where there is none, as in check mode.
        before, after: for a diff: what was and is different.
    """

    found: Object | None
    changed: bool = False
    message: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


class Objects:
    """Makes AWX's objects what they should be.

    Args:
        organization: the name of the one that all of them belong to.
        prefix: what the names of this set-up's objects begin with.
        check: only say what would be changed.
    """

    def __init__(
        self,
        awx: Awx,
        organization: str,
        prefix: str,
        *,
        check: bool,
        update_secrets: bool = False,
    ) -> None:
        self.awx = awx
        self._organization = organization
        self._mark = mark(organization, prefix)
        self.check = check
        self._update_secrets = update_secrets

    def find(self, reference: Reference, **filters: Any) -> Object | None:
        """The object that is meant; None where there is none."""
        if reference.kind in _IN_ORGANIZATION:
            filters["organization__name"] = self._organization
        return self.awx.find(reference.kind, name=reference.name, **filters)

    def number(self, reference: Reference) -> int | None:
        """An object's id; None where check mode did not make it.

        Raises:
            AwxError: there is no such object.
        """
        found = self.find(reference)
        if found is None and not self.check:
            raise AwxError(f"AWX has no {reference}; make it there, or correct the name")
        return found["id"] if found else None

    def present(self, wanted: Wanted) -> Outcome:
        """Make or change an object.

        Raises:
            AwxError: AWX refuses it, or somebody else's has that name.
        """
        numbers = {name: self.number(to) if to else None for name, to in wanted.refers.items()}
        found = self._found(wanted, numbers)
        if found and found.get("pending_deletion"):
            # What is on its way out has the name for a while.
            if not self.check:
                await_gone(self.awx, wanted.kind, found)
            found = None
        if found and wanted.shared:
            return Outcome(found, message=f"{wanted} is there")
        if found and not self._is_ours(found):
            of_others = _MARK in str(found.get("description"))
            raise AwxError(
                f"AWX has a {wanted} that awx-setup {'made for another organisation' if of_others else 'did not make'}"
                ", and which is left as it is: rename it, or choose another awx_setup_prefix"
            )
        fields = {"name": wanted.name, "description": self._description(wanted), **wanted.fields}
        fields |= numbers
        outcome = self._changed(wanted, found, fields) if found else self._made(wanted, fields)
        # A number says nothing to a reader of the diff.
        named = {n: str(to) for n, to in wanted.refers.items() if to and n in outcome.after}
        outcome.after |= named
        self._survey(wanted, outcome)
        for sub, references in wanted.links.items():
            self._link(
                wanted.kind, outcome, sub, {one.name: self.number(one) for one in references}
            )
        self._remove_others(wanted, outcome)
        return outcome

    def keep(self, wanted: Wanted) -> Outcome:
        """Of what stands below an object, whosever that is, remove what it does not keep."""
        outcome = Outcome(self._found(wanted, {}), message=f"{wanted} has what it is to keep")
        self._remove_others(wanted, outcome)
        return outcome

    def absent(self, wanted: Wanted) -> Outcome:
        """Remove an object, where it was made here.

        Raises:
            AwxError: AWX does not remove it.
        """
        numbers = {}
        for name, reference in wanted.refers.items():
            above = self.find(reference) if reference else None
            if above is None and name == wanted.within:
                return Outcome(None, message=f"{wanted} is gone")
            numbers[name] = above["id"] if above else None
        found = self._found(wanted, numbers)
        if found is None:
            return Outcome(None, message=f"{wanted} is gone")
        if not self._is_ours(found):
            said = f"{wanted} was not made by this awx-setup, and is left"
            return Outcome(found, message=said)
        if others := self._needed_by(wanted, found):
            return Outcome(found, message=f"{wanted} is left: it has {', '.join(others)} of others")
        before = {"name": wanted.name}
        if not self.check:
            remove(self.awx, wanted.kind, found)
        return Outcome(None, True, f"removed {wanted}", before, {})

    def _link(
        self, kind: str, outcome: Outcome, sub: str, wanted: Mapping[str, int | None]
    ) -> None:
        """Link exactly these objects below one, by a sub-path; `wanted` has their ids by name."""
        there: dict[int, str] = {}
        below = f"{kind}/{outcome.found['id']}/{sub}/" if outcome.found else ""
        if outcome.found:
            there = {one["id"]: str(one["name"]) for one in self.awx.all(below)}
        if set(wanted.values()) == set(there):
            return
        outcome.changed = True
        outcome.message = outcome.message.replace(" is right", "") + f", with its {sub}"
        outcome.before |= {sub: sorted(there.values())} if there else {}
        outcome.after[sub] = sorted(wanted)
        if self.check or not outcome.found:
            return
        # In this order: AWX refuses a second credential of a type beside the one that is to go.
        for number in [number for number in there if number not in wanted.values()]:
            self.awx.post(below, {"id": number, "disassociate": True})
        for added in [number for number in wanted.values() if number not in there]:
            self.awx.post(below, {"id": added})

    def _remove_others(self, wanted: Wanted, outcome: Outcome) -> None:
        """Remove what was made here and stands below an object, beside what it keeps."""
        if not outcome.found:
            return
        for sub, names in wanted.keeps.items():
            gone = {
                one["id"]: str(one["name"])
                for one in self.awx.all(f"{wanted.kind}/{outcome.found['id']}/{sub}/")
                if one["name"] not in names and self._is_ours(one)
            }
            if not gone:
                continue
            outcome.changed = True
            outcome.message += f", without {sub.replace('_', ' ')} that are no longer wanted"
            outcome.before[sub], outcome.after[sub] = sorted(gone.values()), []
            for number in gone if not self.check else ():
                self.awx.delete(f"{sub}/{number}/")

    def _is_ours(self, found: Object) -> bool:
        return self._mark in str(found.get("description"))

    def _found(self, wanted: Wanted, numbers: Mapping[str, int | None]) -> Object | None:
        if not wanted.within:
            return self.find(Reference(wanted.kind, wanted.name))
        above = numbers.get(wanted.within)
        if above is None:
            return None
        return self.awx.find(wanted.kind, name=wanted.name, **{wanted.within: above})

    def _description(self, wanted: Wanted) -> str:
        return f"{wanted.fields.get('description', '')} {self._mark}".strip()

    def _made(self, wanted: Wanted, fields: dict[str, Any]) -> Outcome:
        fields["description"] = self._description(wanted)
        found = None if self.check else self.awx.post(f"{wanted.kind}/", fields)
        return Outcome(found, True, f"made {wanted}", {}, shown(fields))

    def _changed(self, wanted: Wanted, found: Object, fields: dict[str, Any]) -> Outcome:
        fields["description"] = self._description(wanted)
        sent = differing(fields, found, update_secrets=self._update_secrets)
        # What check mode did not make has no number yet, and would be something new here.
        sent |= {n: None for n, to in wanted.refers.items() if to and fields[n] is None}
        if not sent:
            return Outcome(found, message=f"{wanted} is right")
        before = shown({name: found.get(name) for name in sent})
        if not self.check:
            found = self.awx.patch(f"{wanted.kind}/{found['id']}/", sent)
        return Outcome(found, True, f"changed {', '.join(sent)} of {wanted}", before, shown(sent))

    def _survey(self, wanted: Wanted, outcome: Outcome) -> None:
        if wanted.survey is None:
            return
        path, there = "", {}
        if outcome.found:
            path = f"{wanted.kind}/{outcome.found['id']}/survey_spec/"
            there = self.awx.get(path)
        if not differing({"survey": wanted.survey}, {"survey": there}, update_secrets=False):
            return
        outcome.changed = True
        outcome.message += ", with its survey"
        outcome.before["survey"], outcome.after["survey"] = there, dict(wanted.survey)
        if path and not self.check:
            self.awx.post(path, wanted.survey)

    def _needed_by(self, wanted: Wanted, found: Object) -> list[str]:
        """What was not made here and would go too, or for whose sake AWX would refuse."""
        below = {
            "organizations": ("organization", _BELONGING),
            "credential_types": ("credential_type", ("credentials",)),
        }
        field_, kinds = below.get(wanted.kind, ("", ()))
        return [
            f"{kind.replace('_', ' ')} {one['name']!r}"
            for kind in kinds
            for one in self.awx.all(f"{kind}/", **{field_: found["id"]})
            if not self._is_ours(one)
        ]
