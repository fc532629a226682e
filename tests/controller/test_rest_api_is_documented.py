"""docs/rest-api.md is what `make docs` writes now."""

from __future__ import annotations

import pytest

from docs.rest_api import DOCUMENT, openapi, page


def test_the_document_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "DATABASE_URL", "SECRET_KEY", "DATA_DIR"):
        monkeypatch.delenv(f"PLUGFLEET_{name}", raising=False)
    assert DOCUMENT.read_text() == page(openapi()), "run `make docs`"
