"""docs/settings.md, made from the declarations (``pushctl config docs``)."""

from __future__ import annotations

from pushd.settings.declare import Declared, declared
from pushd.settings.model import GROUPS

_INTRO = """\
# Settings

<!-- Made by 'pushctl config docs > docs/settings.md' from pushd/settings: edit there. -->

Each setting has one name. `max_body`, say, is written

- `max_body = "128KiB"` in `pushd.toml`,
- `PUSHD_MAX_BODY=128KiB` in the environment,
- `pushctl serve --max-body 128KiB` on the command line.

Later ones win: default, file, environment, option. Secrets are not options, because every user of
a machine can read command lines. The file is `--config FILE`, else `PUSHD_CONFIG`, else
`./pushd.toml` if there is one. A relative path counts from the directory of the file that it is
written in, elsewhere from the working directory.

Durations: `250ms`, `25s`, `10m`, `1h30m`, `24h`, `7d`; a bare number is seconds.
Sizes: `512`, `64KiB`, `16MiB`, `1GiB` (powers of 1024), `1MB` (powers of 1000); a bare number is
bytes.

A name that pushd does not know is an error, in the file and in `PUSHD_…` alike: a misspelt limit
would silently not hold. `pushctl config check` reports all mistakes at once, `pushctl config show`
prints every value and where it came from.
"""

_TABLES = """
## Tables of pushd.toml

They stand below all plain settings (TOML gives what follows a table's head to that table).

```toml
# A service's key. Only its hash is kept: printf %s "$KEY" | sha256sum
[[keys]]
name = "billing"
sha256 = "3b7e…64 hex digits"
scopes = ["publish", "read"]          # of publish, read, admin
patterns = ["invoices:*"]             # none: all channels

# A key that client tokens are signed with. One algorithm per key.
[[jwt]]
alg = "ES256"                         # HS256, RS256, ES256 or EdDSA
kid = "2026-01"                       # optional: only tokens that name it
public_key_file = "jwt-public.pem"    # HS256: secret = "at least 32 bytes"
aud = "pushd"                         # optional: must match exactly
iss = "https://login.example.com"     # optional: must match exactly

# The keys of an identity provider, which change: docs/security.md.
[[jwt]]
jwks_url = "https://login.example.com/.well-known/jwks.json"   # or jwks_file = "jwks.json"
algs = ["RS256", "ES256"]             # of RS256, ES256, EdDSA
iss = "https://login.example.com"     # needed with jwks_url
aud = "pushd"                         # recommended: a provider has other customers

# Channels named news, news:…: everybody may read them. All members are optional.
[namespaces.news]
public = true                         # every user may read; false: whom the token grants it
publish = "services"                  # granted (default, by token), users (each), services (only)
retention_age = "30d"                 # these three: in place of the settings of that name
retention_messages = "none"           # no bound
retention_bytes = "100MiB"
hold_age = "60d"                      # kept so long for active devices that have not got it,
hold_messages = 1_000_000             # and so much; left out: 10 times retention_messages,
hold_bytes = "1GiB"                   # 10 times retention_bytes
pulls_per_second = 500                # in place of jitter_pulls_per_second
webhook = true                        # the application is told (message.published)

# For those who are online now: kept one minute, and who comes later gets no reset.
[namespaces.typing]
ephemeral = true

# Who follows a channel of it is told in $presence:CHANNEL: docs/guide/presence.md.
[namespaces.room]
presence = true

# user, group and all are reserved: only retention_…, hold_…, pulls_per_second and webhook can be
# set; for group also presence.
[namespaces.user]
retention_age = "365d"                # inboxes; 90d unless this or retention_age says more
```
"""


def _row(item: Declared) -> str:
    limits = getattr(item.kind, "range", "")
    words = " ".join(part for part in (item.help, f"({limits})" if limits else "") if part)
    return f"| `{item.name}` | {item.default_text} | {words} |"


def settings_markdown() -> str:
    parts = [_INTRO.rstrip()]
    for group in GROUPS:
        parts += [
            f"\n## {group.__doc__}\n",
            "| setting | default | meaning |",
            "| --- | --- | --- |",
        ]
        parts += [_row(item) for item in declared(group)]
    return "\n".join(parts) + "\n" + _TABLES
