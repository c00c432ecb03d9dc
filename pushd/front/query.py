"""Query strings: percent-decoded, strict UTF-8, each parameter once."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from pushd.errors import BadRequest


def decode_part(part: bytes) -> str:
    """Percent-decoded text. ``+`` stays a plus: channel names and cursors have no spaces."""
    try:
        return unquote_to_bytes(part).decode() if b"%" in part else part.decode()
    except UnicodeDecodeError:
        raise BadRequest("The address is not UTF-8 when percent-decoded.") from None


def parse_query(query: bytes) -> dict[str, str]:
    """Parameters by name. Raises BadRequest for one that is given twice."""
    found: dict[str, str] = {}
    if not query:
        return found
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        key = decode_part(name)
        if key in found:
            raise BadRequest(f"The parameter {key!r} is given twice.")
        found[key] = decode_part(value)
    return found
