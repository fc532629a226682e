"""`python -m tests.awx`: the stand-in by itself, for a benchmark; prints its URL and token as JSON.

It ends when its standard input does.
"""

from __future__ import annotations

import json
import sys

from tests.awx.standin import StandIn

if __name__ == "__main__":
    stand_in = StandIn()
    print(json.dumps({"url": stand_in.url, "token": stand_in.token}), flush=True)
    sys.stdin.read()
    stand_in.close()
