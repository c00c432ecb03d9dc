"""Development mode: keys made up once and kept, and what to try next.

In the data directory, readable by their owner only:

- ``dev-keys.json``: ``{"api_key", "jwt_secret", "webhook_secret", "cluster_key"}``, made by the
  first start.
- ``dev-client.json``: ``{"url", "token", "key"}``, written at each start. The client commands read
  it when they are given nothing else, so that a second terminal needs no settings. ``url`` includes
  the path prefix; ``token`` is alice's, for 24 hours; ``key`` is a service's key with all scopes.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from pushd.errors import BadSetting, CannotStart
from pushd.settings import Settings
from pushd.settings.declare import Declared
from pushd.settings.model import by_name

KEYS_FILE = "dev-keys.json"
CLIENT_FILE = "dev-client.json"
TOKEN_TTL_S = 24 * 3600


class DevKeys(msgspec.Struct, frozen=True):
    """Made up by the first ``serve --dev``, and kept."""

    api_key: str
    jwt_secret: str
    webhook_secret: str
    cluster_key: str


class DevClient(msgspec.Struct, frozen=True):
    """Where the server is and how to use it, for the client commands."""

    url: str
    token: str
    key: str


def with_dev_keys(settings: Settings) -> Settings:
    """Fill in the keys that are not set. The same ones at every start, else tokens would expire."""
    if (
        settings.api_key
        and settings.jwt_secret
        and settings.webhook_secret
        and (settings.cluster_key or settings.redis is None)
    ):
        return settings
    keys = read_dev_keys(settings.data)
    if keys is None:
        keys = DevKeys(
            "dev_" + secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
            secrets.token_urlsafe(32),
        )
        write_private(settings.data / KEYS_FILE, keys)
    return replace(
        settings,
        api_key=settings.api_key or keys.api_key,
        jwt_secret=settings.jwt_secret or keys.jwt_secret,
        webhook_secret=settings.webhook_secret or keys.webhook_secret,
        cluster_key=settings.cluster_key or (keys.cluster_key if settings.redis else None),
    )


def read_dev_keys(data: Path) -> DevKeys | None:
    """None when there are none. Raises BadSetting when the file holds something else."""
    path = data / KEYS_FILE
    try:
        keys = msgspec.json.decode(path.read_bytes(), type=DevKeys)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise BadSetting(
            f"{path} is not readable ({error}): delete it, new keys will be made"
        ) from None
    known = by_name()
    _check(path, known["api_key"], keys.api_key)
    _check(path, known["jwt_secret"], keys.jwt_secret)
    _check(path, known["webhook_secret"], keys.webhook_secret)
    _check(path, known["cluster_key"], keys.cluster_key)
    return keys


def write_private(path: Path, content: msgspec.Struct) -> None:
    """Replace ``path`` by a file that only its owner can read, at no moment otherwise."""
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
        draft.replace(path)
    except OSError as error:
        raise CannotStart(f"cannot write {path}: {error.strerror}") from None


def welcome(settings: Settings, client: DevClient, links: Iterable[tuple[str, str, str]]) -> str:
    """What to do next. Every command is one line that bash and zsh take as it is."""
    messages = f"{client.url}/v1/channels/news/messages"
    return f"""
  publisher key   {client.key}
  client token    {client.token}
                  (user alice, device dev-alice, may read and write all topics, for 24 hours)

Publish to the channel news, then pull it:

curl -sS -w '\\n' -H 'Authorization: Bearer {client.key}' -H 'Content-Type: application/json' \
-d '{{"data":{{"text":"hello"}}}}' '{messages}'

curl -sS -w '\\n' -H 'Authorization: Bearer {client.token}' '{messages}?after=0'

Watch it, in a second terminal in this directory{_how_to_find_pushctl()}:

pushctl tail news

Talk to yourself: each link is a page that is signed in as somebody, for 24 hours.
Open some side by side, in windows of their own:

{_pages(links)}
{_calls(settings, client)}Elsewhere, or with another --data than ./data, type this first:

export PUSHD_URL='{client.url}' PUSHD_TOKEN='{client.token}'

Ctrl-C stops the server. Data, keys: {settings.data}
"""


def _pages(links: Iterable[tuple[str, str, str]]) -> str:
    return "".join(f"  {page} as {user}\n{address}\n\n" for page, user, address in links)


def _calls(settings: Settings, client: DevClient) -> str:
    """Only where there is somebody to answer."""
    if settings.handlers is None and settings.webhook_url is None:
        return ""
    told = f"handlers in {settings.handlers}" if settings.handlers else ""
    if settings.webhook_url is not None:
        told += (", else " if told else "") + settings.webhook_url.partition("?")[0]
        told += f"\n  signed with   {settings.webhook_secret}"
    return f"""Call your application (docs/guide/calls.md):

  answered by   {told}

curl -sS -w '\\n' -H 'Authorization: Bearer {client.token}' -H 'Content-Type: application/json' \
-d '{{"name":"HELLO","data":1}}' '{client.url}/v1/call'

"""


def _how_to_find_pushctl() -> str:
    here = Path(sys.prefix) / "bin" / "pushctl"
    found = shutil.which("pushctl")
    if not here.exists() or (found and Path(found).samefile(here)):
        return ""
    with contextlib.suppress(ValueError):
        here = here.relative_to(Path.cwd())
    return f" (first '. {here.parent}/activate', or type {here})"


def _check(path: Path, declared: Declared, text: str) -> None:
    try:
        declared.kind.parse(text)
    except ValueError as error:
        raise BadSetting(f"{path}: {declared.name} {error}; delete the file") from None
