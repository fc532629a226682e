"""What a run has told of its hosts so far, and what that means for those that it said nothing of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.deployments.cleaning import Cleaner
from controller.deployments.events import Event
from controller.deployments.journal import Entry as JournalEntry
from controller.deployments.journal import JournalReader
from controller.deployments.models import HostStatus, Status
from controller.deployments.recorder import Entry, Waiting, WaveEnd
from controller.deployments.results import HostOutcome, cleaned_outcome, lost

# A host's visit is told of by the journal; a start for each task and host would say nothing more.
_NOT_KEPT = {"runner_on_start"}
_RESULTS = {"runner_on_ok", "runner_on_failed", "runner_on_unreachable"}
_LONGEST_PLAN = 64  # characters of a plan's digest
_KILLED = "ansible-playbook was killed"
_LAST_WORDS = 5  # lines of output that explain a playbook that did not get anywhere


@dataclass(frozen=True)
class Stopped:
    """Why a run was ended before it was through."""

    status: Status
    reason: str


@dataclass(frozen=True)
class Over:
    """No process of the run is left.

    Attributes:
        exit_status: of ansible-playbook, or None where it was killed.
    """

    stopped: Stopped | None
    exit_status: int | None


@dataclass(frozen=True)
class JobOver:
    """One of several jobs of a run has ended, or nobody can tell any more.

    Attributes:
        job: its number, which its events carry too; 0 where it never began.
        hosts: what it was to visit.
        stopped: why it was ended before it was through, or None.
        trouble: why it came to no end of its own; empty where it did.
        said: what it says of itself.
        reasons: by host, why nothing was told of it.
        blind: it may have visited hosts with nobody seeing it, whatever the journal tells.
    """

    job: int
    hosts: Collection[str]
    stopped: Stopped | None = None
    trouble: str = ""
    said: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)
    blind: bool = False


class LookAtJournal:
    """The journal may hold more than it did."""


@dataclass
class _Job:
    """What was told of one job; of a run that is one, of the run."""

    visit_began: bool = False
    blind: bool = False
    errors: dict[str, str] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)

    def trouble(self) -> str:
        """What went wrong with the playbook as a whole, in its own words; or nothing."""
        if self.errors:
            return next(iter(self.errors.values()))
        return " / ".join(word for word in self.words[-_LAST_WORDS:] if word)


class Tracker:
    """Reads the events and the journal of one run, in one thread.

    Args:
        plans: digest of the plan that the run brings each of its hosts to.
        decided: what was written of hosts before, by another process.
        kept: events that were, as numbers of job and event.
    """

    def __init__(
        self,
        plans: Mapping[str, str],
        cleaner: Cleaner,
        journal: JournalReader,
        *,
        decided: Mapping[str, HostStatus] | None = None,
        kept: Collection[tuple[int, int]] = (),
    ) -> None:
        self._reader = journal
        self._plans = plans
        self._cleaner = cleaner
        self._begun: set[str] = set()
        self._decided = dict(decided or {})
        self._kept_before = frozenset(kept)
        self._journal_seen = False
        self._jobs: dict[int, _Job] = {}
        self._troubles: list[str] = []

    def read(self, told: Any) -> list[Entry]:
        """What to keep now.

        Args:
            told: an event as ansible-runner gives it, one of our own, LookAtJournal, JobOver, or Over.
        """
        if isinstance(told, Event | Waiting):
            return [told]
        if isinstance(told, LookAtJournal):
            return self._journal()
        if isinstance(told, JobOver):
            return list(self._job_over(told))
        if isinstance(told, Over):
            return [*self._journal(), *self._rest(told), self._end(told)]
        return self._event(told)

    def _journal(self) -> list[Entry]:
        return [kept for entry in self._reader.new() for kept in self._journal_entry(entry)]

    def _journal_entry(self, entry: JournalEntry) -> list[Entry]:
        self._journal_seen = True
        if entry.result is None:
            self._begun.add(entry.host)
            return [Event("host.began", host=entry.host)]
        return self._result(entry.host, entry.result)

    def _result(self, host: str, result: Mapping[str, Any]) -> list[Entry]:
        if host in self._decided or host not in self._plans:
            return []
        plan, told = self._plans[host], result.get("plan")
        if plan and isinstance(told, str):
            plan = told[:_LONGEST_PLAN]  # AWX's inventory may be older, or have no secrets
        outcome = cleaned_outcome(self._cleaner, host, result, plan)
        self._decided[host] = outcome.status
        return [outcome]

    def _event(self, told: Mapping[str, Any]) -> list[Entry]:
        kind, data = str(told.get("event", "")), told.get("event_data") or {}
        if kind in _NOT_KEPT:
            return []
        action, host = data.get("task_action", ""), str(data.get("host", ""))
        result = data.get("res")
        result = result if isinstance(result, Mapping) else {}
        entries: list[Entry] = []
        job = self._job(told)
        if kind == "playbook_on_task_start" and action == "plugin_visit":
            job.visit_began = True
        if kind in _RESULTS and action == "plugin_report":
            # The journal was written before; it tells what a host began with too.
            entries = [*self._journal(), *self._reported(kind, host, result)]
        elif (
            kind in _RESULTS
            and action == "plugin_visit"
            and isinstance(result.get("hosts"), Mapping)
        ):
            entries = self._visited(result["hosts"])
        elif kind in ("runner_on_failed", "runner_on_unreachable"):
            self._note_error(job, kind, data, host, result)
        elif kind in ("verbose", "error", "warning", "system_warning"):
            job.words.append(self._cleaner.text(str(told.get("stdout", ""))).strip())
        if (int(told.get("job") or 0), int(told.get("counter") or 0)) in self._kept_before:
            return entries
        return [*entries, self._kept(kind, told, data, host, result)]

    def _job(self, told: Mapping[str, Any]) -> _Job:
        return self._jobs.setdefault(int(told.get("job") or 0), _Job())

    def _reported(self, kind: str, host: str, result: Mapping[str, Any]) -> list[Entry]:
        """What an event tells of its host, of which AWX empties `res` where that is large (MAX_EVENT_RES)."""
        if result:
            told = dict(result)
        elif kind != "runner_on_ok":
            told = {
                "msg": "its visit went wrong; what it said of that is not among the run's events"
            }
        else:
            return []
        told["unreachable"] = kind == "runner_on_unreachable"
        told["failed"] = bool(told.get("failed")) or kind == "runner_on_failed"
        return self._result(host, told)

    def _visited(self, hosts: Mapping[str, Any]) -> list[Entry]:
        """What the visit itself told of its hosts, where the journal did not: a full disk, or a host
        that was refused before it was visited."""
        entries = self._journal()
        for host, result in hosts.items():
            if isinstance(result, Mapping):
                entries += self._result(host, result)
        return entries

    def _note_error(
        self,
        job: _Job,
        kind: str,
        data: Mapping[str, Any],
        host: str,
        result: Mapping[str, Any],
    ) -> None:
        if data.get("ignore_errors"):
            return
        if kind == "runner_on_unreachable":
            job.unreachable.add(host)
        message = self._cleaner.text(str(result.get("msg", "")))
        job.errors.setdefault(host, f"{data.get('task', 'a task')}: {message}")

    def _kept(
        self,
        kind: str,
        told: Mapping[str, Any],
        data: Mapping[str, Any],
        host: str,
        result: Mapping[str, Any],
    ) -> Event:
        kept: dict[str, Any] = {
            name: data[name] for name in ("play", "task", "duration") if data.get(name)
        }
        if "msg" in result:
            kept["msg"] = result["msg"]
        if kind in _RESULTS:
            kept["changed"] = bool(result.get("changed"))
        if kind == "playbook_on_stats":
            # Ansible's own count knows the tasks that ran once, not the hosts that they visited.
            kept |= Counter(status.value for status in self._decided.values())
        elif kind not in _RESULTS and told.get("stdout"):
            kept["stdout"] = told["stdout"]
        if told.get("job"):
            kept["job"] = told["job"]
        counter = int(told.get("counter") or 0)
        return Event(kind, self._cleaner.data(kept), host=host, counter=counter)

    def _job_over(self, over: JobOver) -> Iterator[HostOutcome]:
        """Outcomes of a job's hosts that nothing was told of."""
        job = self._jobs.setdefault(over.job, _Job())
        job.blind = job.blind or over.blind
        if over.said:
            job.words.append(self._cleaner.text(over.said))
        left = [host for host in over.hosts if host in self._plans and host not in self._decided]
        if over.trouble and left:
            self._troubles.append(over.trouble)
        for host in left:
            if reason := over.reasons.get(host):
                outcome = HostOutcome(host, HostStatus.FAILED, reason, touched=False)
            else:
                outcome = self._undecided(host, job, over.stopped, over.trouble)
            self._decided[host] = outcome.status
            yield outcome

    def _rest(self, over: Over) -> Iterator[HostOutcome]:
        """Outcomes of the hosts that nothing was told of."""
        killed = "" if over.exit_status is not None else _KILLED
        job = self._jobs.setdefault(0, _Job())
        for host in self._plans:
            if host not in self._decided:
                outcome = self._undecided(host, job, over.stopped, killed)
                self._decided[host] = outcome.status
                yield outcome

    def _undecided(
        self, host: str, job: _Job, stopped: Stopped | None, trouble: str
    ) -> HostOutcome:
        # Without a journal it is not known which hosts a visit had come to.
        unseen = job.blind or (job.visit_began and not self._journal_seen)
        touched = host in self._begun or unseen
        if reason := stopped.reason if stopped else trouble:
            if touched:
                message = f"{reason} while this host was being visited; deploy to it again"
                return HostOutcome(host, HostStatus.INTERRUPTED, message)
            status = HostStatus.CANCELED if stopped else HostStatus.FAILED
            return HostOutcome(host, status, f"{reason}; this host was not visited", touched=False)
        error = job.errors.get(host) or job.trouble()
        message = error or "the playbook ended without a word about this host"
        status = HostStatus.UNREACHABLE if host in job.unreachable else HostStatus.FAILED
        return HostOutcome(host, status, message, touched=touched)

    def _end(self, over: Over) -> WaveEnd:
        """How the wave ended, once every host is decided."""
        if over.stopped:
            return WaveEnd(over.stopped.status, over.stopped.reason, over.exit_status)
        if over.exit_status is None:
            return WaveEnd(Status.FAILED, _KILLED, None)
        told = "; ".join([part for part in (lost(self._decided.values()), *self._troubles) if part])
        if told or over.exit_status:
            trouble = next((job.trouble() for job in self._jobs.values() if job.trouble()), "")
            reason = told or trouble or f"ansible-playbook ended with {over.exit_status}"
            return WaveEnd(Status.FAILED, reason, over.exit_status)
        return WaveEnd(Status.SUCCEEDED, "", over.exit_status)
