"""`python -m tests.awx`: the stand-in by itself, for a benchmark or a look; prints its URL, token and the
password of `admin` as JSON.

It knows what time it is: schedules fall due. It ends when its standard input does. With `--no-tokens` it takes the
password only, as AWX newer than 24.6.1 does.
"""

from __future__ import annotations

import json
import sys
import threading

from tests.awx.setting_up import PLAYBOOKS
from tests.awx.standin import StandIn

_LOOK = 1.0  # seconds between looks at the schedules; a real AWX takes 30

if __name__ == "__main__":
    stand_in = StandIn()
    stand_in.awx.rights.has_tokens = "--no-tokens" not in sys.argv
    stand_in.awx.jobs.offered = [*PLAYBOOKS, "hello_world.yml"]
    ended = threading.Event()

    def fire() -> None:
        """Let schedules fall due until the program ends."""
        while not ended.wait(_LOOK):
            stand_in.awx.fire_due()

    firing = threading.Thread(target=fire)
    firing.start()
    said = {"url": stand_in.url, "token": stand_in.token, "password": stand_in.password}
    print(json.dumps(said), flush=True)
    sys.stdin.read()
    ended.set()
    firing.join()
    stand_in.close()
