"""More requests at once than the controller has threads and connections: they wait, and none is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.controller.server import Api

AT_ONCE = 100


def test_many_requests_at_once_are_all_answered(api: Api) -> None:
    def ask(number: int) -> int:
        if number % 2:
            return clients[number].get("hosts").status_code
        return clients[number].post("hosts", json={"name": f"h{number}"}).status_code

    clients: list[httpx2.Client] = [api.connect(api.token) for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    assert answers == [201, 200] * (AT_ONCE // 2)
