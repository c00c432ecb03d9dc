"""A message as it is pulled: the bytes say what was given, and ``data`` is kept untouched."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pushd.core.messages import Draft, encode_message, message_id

EPOCH = "0mhx3f9ab"
texts = st.text(min_size=1)
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.integers(1, 2**53 - 1), texts, st.none() | texts, st.none() | texts, st.integers(0), data)
def test_every_member_comes_back(
    seq: int, type_: str, id_: str | None, sender: str | None, at: int, value: object
) -> None:
    encoded = encode_message(seq, EPOCH, type_, id_, sender, at, json.dumps(value).encode())
    message = json.loads(encoded)
    assert message.pop("sender", None) == sender
    assert message == {
        "seq": seq,
        "id": f"{EPOCH}.{seq}" if id_ is None else id_,
        "type": type_,
        "at": at,
        "data": value,
    }
    assert message["id"] == message_id(EPOCH, seq, id_)


def test_data_is_kept_byte_for_byte() -> None:
    raw = b'{"b" : 1.50,\n"a":"\\u00e9\xc3\xa9"}'
    encoded = encode_message(1, EPOCH, "message", None, None, 2, raw)
    assert encoded.endswith(b'"data":' + raw + b"}")
    assert encoded.startswith(b'{"seq":1,"id":"0mhx3f9ab.1","type":"message","at":2,')


def test_a_draft_is_a_message_unless_it_says_otherwise() -> None:
    draft = Draft(b"1")
    assert (draft.type, draft.id, draft.sender) == ("message", None, None)
