"""Every call that a page of the guide names is one that is served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pushd.web.table import OPERATIONS

GUIDE = Path(__file__).parent.parent / "docs" / "guide"
_CALL = re.compile(r"\b(GET|POST|PUT|DELETE) (/v1/[^\s`?\"'…]*)")
SERVED = {(each.method, re.sub(r"\{\w+\}", "[^/]+", each.path)) for each in OPERATIONS}


def is_served(method: str, path: str) -> bool:
    return any(method == known and re.fullmatch(pattern, path) for known, pattern in SERVED)


@pytest.mark.parametrize("page", sorted(GUIDE.glob("*.md")), ids=lambda page: page.name)
def test_the_calls_of_a_page_are_served(page: Path) -> None:
    # A template of the reference stands for any value.
    wrong = [call for call in _CALL.findall(page.read_text("utf-8")) if not is_served(*call)]
    assert not wrong


def test_the_page_for_those_who_come_from_elsewhere_names_many() -> None:
    assert len(_CALL.findall((GUIDE / "coming-from.md").read_text("utf-8"))) > 20


@pytest.mark.parametrize("call", [("GET", "/v1/nothing"), ("PUT", "/v1/publish")])
def test_what_is_not_served_is_found(call: tuple[str, str]) -> None:
    assert not is_served(*call)
