"""What nodes are known by: made with one key, for one owner, for half a minute."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushd.access import Access
from pushd.auth import ApiKey, Authenticator
from pushd.core.permissions import SCOPES
from pushd.errors import Conflict, PushdError, Unauthorized
from pushd.nodetokens import KEPT_S, LIFE_S, PREFIX, NodeTokens

KEY = b"sixteen bytes at least"
NOW = 1_795_300_000.0


def pair(audience: str | None = "G1", key: bytes = KEY) -> tuple[NodeTokens, NodeTokens]:
    """An edge, and the owner that it asks."""
    owner = NodeTokens(key, "owner")
    owner.audience = audience
    return NodeTokens(KEY, "edge-1"), owner


def test_the_owner_knows_who_asks() -> None:
    edge, owner = pair()
    assert owner.verify(edge.mint("G1", NOW), NOW) == "edge-1"


@pytest.mark.parametrize("lag", [0.0, 1.0, LIFE_S - 1, -1.0, 1 - LIFE_S])
def test_clocks_may_differ(lag: float) -> None:
    edge, owner = pair()
    assert owner.verify(edge.mint("G1", NOW), NOW + lag) == "edge-1"


@pytest.mark.parametrize("lag", [LIFE_S, 3600.0, -LIFE_S])
def test_it_does_not_live_long(lag: float) -> None:
    edge, owner = pair()
    with pytest.raises(Unauthorized, match=r"seconds old"):
        owner.verify(edge.mint("G1", NOW), NOW + lag)


def test_another_key_makes_no_node() -> None:
    edge, stranger = pair(key=b"another key of sixteen")
    with pytest.raises(Unauthorized):
        stranger.verify(edge.mint("G1", NOW), NOW)


@pytest.mark.parametrize("current", ["G2", None])
def test_for_another_owner_it_is_refused_and_the_answer_names_the_one_that_is(
    current: str | None,
) -> None:
    edge, owner = pair(current)
    with pytest.raises(Conflict) as caught:
        owner.verify(edge.mint("G1", NOW), NOW)
    assert caught.value.extra == {"generation": current}


def test_who_did_not_sign_is_not_told_the_generation() -> None:
    edge, _ = pair()
    stranger = NodeTokens(b"another key of sixteen", "owner")
    stranger.audience = "G2"
    with pytest.raises(Unauthorized) as caught:
        stranger.verify(edge.mint("G1", NOW), NOW)
    assert "G2" not in str(caught.value.as_dict())


@given(st.data())
def test_what_was_changed_is_refused(data: st.DataObject) -> None:
    edge, owner = pair()
    good = edge.mint("G1", NOW)
    at = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != good[at]))
    with pytest.raises(Unauthorized):
        owner.verify(good[:at] + other + good[at + 1 :], NOW)


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    _, owner = pair()
    for credential in (text, PREFIX + text):
        with pytest.raises(Unauthorized):
            owner.verify(credential, NOW)


def test_a_payload_cannot_be_changed_nor_the_key_be_read() -> None:
    edge, owner = pair()
    _, payload, signature = edge.mint("G1", NOW).split(".")
    node, audience, at = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert (node, audience, at) == ("edge-1", "G1", NOW)
    forged = base64.urlsafe_b64encode(json.dumps(["edge-2", audience, at]).encode()).rstrip(b"=")
    with pytest.raises(Unauthorized):
        owner.verify(f"{PREFIX}{forged.decode()}.{signature}", NOW)
    assert KEY.decode() not in repr(vars(edge)) + repr(edge)


def test_it_is_made_anew_now_and_then_and_for_each_owner() -> None:
    edge, _ = pair()
    first = edge.mint("G1", NOW)
    assert edge.mint("G1", NOW + KEPT_S - 0.1) == first
    second = edge.mint("G1", NOW + KEPT_S)
    assert second != first
    assert edge.mint("G2", NOW + KEPT_S) != second
    assert edge.mint("G2", NOW - 60) != edge.mint("G2", NOW)  # the clock was set


def test_records_are_signed_for_themselves() -> None:
    edge, owner = pair()
    signature = edge.sign(b"record")
    assert owner.check(b"record", signature)
    assert not owner.check(b"another", signature)
    assert not owner.check(b"record", "é")
    _, payload, of_credential = edge.mint("G1", NOW).split(".")
    assert not owner.check(payload.encode(), of_credential)


def test_the_authenticator_takes_them_as_services_that_may_do_everything() -> None:
    edge, owner = pair()
    authenticator = Authenticator([], [], nodes=owner)
    now = time.time()
    identity = authenticator.identify(edge.mint("G1", now), now)
    assert (identity.user, identity.node, identity.key_name) == (None, "edge-1", "node:edge-1")
    assert (identity.scopes, identity.patterns) == (SCOPES, ())
    access = Access(frozenset(), authenticator.standing)
    for channel in ("news", "user:alice", "group:g", "all", "session:s1", "$presence:room"):
        access.check_read(identity, channel, now)
    with pytest.raises(PushdError):
        access.check_valid(identity, now + LIFE_S)


def test_keys_that_are_replaced_leave_nodes_alone() -> None:
    edge, owner = pair()
    authenticator = Authenticator([ApiKey("a", "0" * 64, ["read"])], [], nodes=owner)
    now = time.time()
    identity = authenticator.identify(edge.mint("G1", now), now)
    authenticator.install([], [])
    assert authenticator.standing.lost
    authenticator.standing.check(identity, now)


def test_without_a_cluster_it_is_a_credential_like_any_other() -> None:
    edge, _ = pair()
    with pytest.raises(Unauthorized):
        Authenticator([], []).identify(edge.mint("G1", NOW), NOW)
