"""Where an AWX has its API and its pages, below the address that it is set by.

Where Ansible Automation Platform's gateway stands before it, both are elsewhere (`OPTIONAL_API_URLPATTERN_PREFIX`
and `OPTIONAL_UI_URL_PREFIX` in AWX's awx/settings/defaults.py).
"""

from __future__ import annotations

GATEWAY = "/api/controller"
"""How the address of an AWX ends that a gateway stands before."""


def api(url: str) -> str:
    """Where its API is, version 2."""
    return f"{url}/v2/" if url.endswith(GATEWAY) else f"{url}/api/v2/"


def job_page(url: str, job: int) -> str:
    """Where people look at a job."""
    if url.endswith(GATEWAY):
        return f"{url.removesuffix(GATEWAY)}/execution/jobs/playbook/{job}/output"
    return f"{url}/#/jobs/playbook/{job}"


def schedule_page(url: str, template: int, schedule: int) -> str:
    """Where people look at a schedule of a job template."""
    if url.endswith(GATEWAY):
        own = f"execution/templates/job-template/{template}/schedules/{schedule}/details"
        return f"{url.removesuffix(GATEWAY)}/{own}"
    return f"{url}/#/templates/job_template/{template}/schedules/{schedule}"
