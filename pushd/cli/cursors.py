"""Where ``pushctl tail`` was: cursors in files, so that it goes on there the next time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pushd.client.credential import claims_of
from pushd.core.positions import parse_cursor
from pushd.errors import BadRequest, BadSetting


class _Place(msgspec.Struct):
    """Readable for people; found by the key that ``_key`` makes of all that counts."""

    url: str
    channel: str
    cursor: str


class _Content(msgspec.Struct):
    version: int = 1
    cursors: dict[str, _Place] = {}


def default_directory() -> Path:
    """``$XDG_STATE_HOME/pushctl``; a relative one is ignored, as its specification says."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "state") / "pushctl"


class TailCursors:
    """Cursors by server, user and channel. Holds no credential, only a hash of one.

    One file for all when it is named, else one for each channel, so that two commands that run
    at once do not write the same one.
    """

    def __init__(self, url: str, credential: str, file: Path | None) -> None:
        self._url = url
        self._identity = identity_of(credential)
        self._file = file
        self._contents: dict[Path, _Content] = {}

    def load(self, channels: Iterable[str]) -> dict[str, str]:
        """The cursors that are known. Raises BadSetting for a file that holds something else."""
        found = {}
        for channel in channels:
            key = self._key(channel)
            place = self._content(self._path(key)).cursors.get(key)
            if place is not None:
                found[channel] = place.cursor
        return found

    def save(self, cursors: Mapping[str, str]) -> None:
        """Write what is new; each file is replaced at once, so that none is ever half written."""
        changed = set()
        for channel, cursor in cursors.items():
            key = self._key(channel)
            path = self._path(key)
            content = self._content(path)
            known = content.cursors.get(key)
            if known is None or known.cursor != cursor:
                content.cursors[key] = _Place(self._url, channel, cursor)
                changed.add(path)
        for path in changed:
            _replace(path, msgspec.json.format(msgspec.json.encode(self._contents[path])))

    def _key(self, channel: str) -> str:
        named = "\0".join((self._url, self._identity, channel))
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    def _path(self, key: str) -> Path:
        return self._file or default_directory() / f"{key}.json"

    def _content(self, path: Path) -> _Content:
        if path not in self._contents:
            self._contents[path] = _read(path)
        return self._contents[path]


def identity_of(credential: str) -> str:
    """The user of a token, so that a new token goes on where the old one was; else a hash."""
    user = claims_of(credential).get("sub")
    if isinstance(user, str):
        return f"user {user}"
    return "key " + hashlib.sha256(credential.encode()).hexdigest()


def _read(path: Path) -> _Content:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_Content)
        for place in content.cursors.values():
            parse_cursor(place.cursor)
    except FileNotFoundError:
        return _Content()
    except OSError as error:
        raise BadSetting(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, BadRequest):
        raise BadSetting(
            f"{path} holds no cursors of pushctl tail: delete it, or name another"
        ) from None
    if content.version != 1:
        raise BadSetting(f"{path} is of a newer pushctl: name another with --state")
    return content


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(content + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        raise BadSetting(f"cannot write {path}: {error.strerror}") from None
