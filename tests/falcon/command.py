"""An Open-Falcon agent's plugin half, faults included, as one file for a test host.

`falcon-agent -c cfg.json --records FOLDER [--hbs FOLDER] [--as VERSION]`. What it does is written to
the records: `metrics.jsonl` (what was pushed) and `schedules.jsonl` (every schedule that was begun).
Its heartbeats go to the address of its cfg.json, unless a folder stands for hbs: `plugins` (one
binding a line; no file: hbs is down) is read there, and `agent.json` (the newest heartbeat) written.
What is odd here is the real agent's way (read and measured on falcon-plus v0.2.1, v0.3 and master),
and what plugfleet must cope with: do not mend it.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from tests.falcon.agent import Agent
from tests.falcon.configuration import VERSIONS, Config
from tests.falcon.endpoints import serve


def main() -> None:
    """Be an agent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-c", default="cfg.json")
    parser.add_argument("--records", required=True)
    parser.add_argument("--hbs", default="")
    parser.add_argument("--as", dest="version", choices=sorted(VERSIONS), default="master")
    options = parser.parse_args()
    # By this name the real one is found among a host's processes.
    Path("/proc/self/comm").write_text("falcon-agent")
    serve(Agent(Config(options.c), options.records, options.version, options.hbs))


def build(target: Path) -> None:
    """Make the one file."""
    folder = Path(__file__).parent
    with zipfile.ZipFile(target, "w") as archive:
        # Without entries of their own, folders in an archive are no packages.
        archive.writestr("tests/", "")
        archive.writestr("tests/falcon/", "")
        for source in sorted(folder.glob("*.py")):
            archive.write(source, f"tests/falcon/{source.name}")
        archive.writestr("__main__.py", "from tests.falcon.command import main\n\nmain()\n")
