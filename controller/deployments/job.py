"""What the run of one wave needs to know, read once from the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from controller.auth.vault import load_vault
from controller.catalog.line import DeployLine
from controller.catalog.models import ReleaseRow
from controller.catalog.publish import Catalog
from controller.database.engine import Database
from controller.deployments.cleaning import Cleaner, cleaner_of
from controller.deployments.models import Deployment, HostResult, Wave
from controller.deployments.results import Delivered
from controller.deployments.rundir import static_inventory
from controller.inventory import service as inventory
from controller.settings import Settings

_KEYS = ("ansible_private_key", "ansible_ssh_private_key")


@dataclass(frozen=True)
class Job:
    """One wave.

    Attributes:
        inventory: as Ansible reads it from a file, secrets included.
        plans: by host, the digest of the plan that it is brought to; empty where that is not its
            newest plan.
        cleaner: hides the secrets of these hosts in what the run says.
        jobs: those that were begun of it before, as the wave's row has them.
    """

    wave_id: int
    wave: int
    deployment_id: int
    check: bool
    release: Delivered
    inventory: dict[str, Any]
    plans: dict[str, str]
    cleaner: Cleaner
    jobs: dict[str, Any] | None = None


def load(settings: Settings, database: Database, wave_id: int) -> Job:
    """Read what there is to do.

    Raises:
        PlugfleetError: a secret cannot be read, or the database does not answer.
    """
    vault = load_vault(settings.secret_key, settings.key_file)
    with database.read() as session:
        wave = session.get_one(Wave, wave_id)
        jobs = wave.jobs
        deployment = session.get_one(Deployment, wave.deployment_id)
        release = session.get_one(ReleaseRow, deployment.release)
        hosts = session.scalars(
            select(HostResult.host).where(
                HostResult.deployment_id == deployment.id,
                HostResult.wave == wave.number,
                HostResult.host_id.is_not(None),
            )
        ).all()
        document = inventory.document(session, vault, hosts=list(hosts), with_secrets=True)
        cleaner = cleaner_of(session, vault, hosts)
    catalog = Catalog(settings.catalog_dir)
    DeployLine(database, vault, catalog).bring(release.commit)
    variables = document["all"]["vars"]
    newest = variables.get("plugin_source_release") == {
        "number": release.number,
        "commit": release.commit,
    }
    # The whole deployment brings one release, also when a newer one comes between its waves. The
    # hosts then have a plan that is no longer theirs, which is what an empty digest says.
    variables["plugin_source_release"] = {"number": release.number, "commit": release.commit}
    variables["plugin_source_folder"] = str(settings.catalog_dir)
    document[inventory.EVERYONE]["vars"].pop("plugin_source_folder", None)
    hostvars: Mapping[str, Any] = document["_meta"]["hostvars"]
    return Job(
        wave_id=wave_id,
        wave=wave.number,
        deployment_id=deployment.id,
        check=deployment.check,
        release=Delivered(release.number, release.commit),
        inventory=static_inventory(document),
        plans={
            name: str(hostvars.get(name, {}).get("plugfleet_plan", "")) if newest else ""
            for name in hosts
        },
        cleaner=cleaner,
        jobs=jobs,
    )


def holds_key(job: Job) -> bool:
    """Whether a private key is among the variables; Ansible hands those to an ssh-agent of its own."""
    everything = job.inventory["all"]
    places = [everything["vars"], *everything["hosts"].values()]
    places += [group.get("vars", {}) for group in everything["children"].values()]
    return any(name in place for place in places for name in _KEYS)
