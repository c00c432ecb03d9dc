"""The tables [[jwt]] of pushd.toml: one key each, or a set of keys that changes (JWKS)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pushd.settings.addresses import is_loopback
from pushd.settings.tables import ALGORITHMS, MIN_JWT_SECRET, TableList, TableReader

# A set is public. A secret in one, whoever wrote it there, is no secret: HS256 is not among them.
JWKS_ALGORITHMS = ("RS256", "ES256", "EdDSA")
_NAMES = ("alg", "algs", "kid", "secret", "public_key_file", "jwks_file", "jwks_url", "aud", "iss")
_OF_ONE_KEY = ("alg", "kid", "secret", "public_key_file")


@dataclass(frozen=True, slots=True)
class JwtTable:
    """A key that client tokens are checked with. ``material``: the HS256 secret or a PEM text.

    Or, with ``algs``, a JWKS: its keys are those of ``jwks_file`` or ``jwks_url``.
    """

    alg: str
    material: str = field(repr=False)
    kid: str | None = None
    aud: str | None = None
    iss: str | None = None
    algs: tuple[str, ...] = ()
    jwks_file: Path | None = None
    jwks_url: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.kid or self.jwks_url or str(self.jwks_file or "unnamed")

    @property
    def kid_of_issuer(self) -> tuple[str, str | None] | None:
        """What no two tables may have in common."""
        return None if self.kid is None else (self.kid, self.iss)


def _read_jwt(table: object, title: str, base: Path) -> tuple[JwtTable, list[str]]:
    read = TableReader(table, title, _NAMES)
    if read.given("jwks_file") is not None or read.given("jwks_url") is not None:
        return _read_jwks(read, base), read.problems
    alg = read.text("alg", needed=True) or ""
    if alg and alg not in ALGORITHMS:
        read.wrong(f"alg {alg!r} is none of {', '.join(ALGORITHMS)}")
    if read.given("algs") is not None:
        read.wrong("has algs, which are for jwks_file and jwks_url; a single key has one alg")
    secret, file = read.text("secret"), read.text("public_key_file")
    material = ""
    if alg == "HS256":
        material = secret or ""
        if file is not None or len(material.encode()) < MIN_JWT_SECRET:
            read.wrong(f"with HS256 needs a secret of at least {MIN_JWT_SECRET} bytes and no file")
    elif alg in ALGORITHMS:
        if secret is not None or file is None:
            read.wrong(f"with {alg} needs public_key_file and no secret")
        else:
            material = _read_public_key(base / file, read)
    key = JwtTable(alg, material, read.text("kid"), read.text("aud"), read.text("iss"))
    return key, read.problems


def _read_jwks(read: TableReader, base: Path) -> JwtTable:
    file, url = read.text("jwks_file"), read.text("jwks_url")
    if file is not None and url is not None:
        read.wrong("has both jwks_file and jwks_url: make two tables of it")
    for name in _OF_ONE_KEY:
        if read.given(name) is not None:
            read.wrong(f"has {name}, which is for single keys; a JWKS has algs")
    algs = read.texts("algs")
    if not algs:
        read.wrong(f"needs algs: some of {', '.join(JWKS_ALGORITHMS)}")
    for alg in algs:
        if alg not in JWKS_ALGORITHMS:
            read.wrong(f"algs {alg!r} is none of {', '.join(JWKS_ALGORITHMS)}")
    aud, iss = read.text("aud"), read.text("iss")
    if url is not None:
        problem = url_problem(url)
        if problem:
            read.wrong(f"jwks_url {problem}")
        if iss is None:
            # Sets are often shared: by all tenants of a provider, say.
            read.wrong("needs iss, what the tokens of that issuer say")
    return JwtTable("", "", None, aud, iss, algs, None if file is None else base / file, url)


def url_problem(url: str) -> str | None:
    """Why keys cannot be fetched from ``url``. Plain HTTP stays on this machine: whoever is on
    the way could put keys of their own in."""
    problem = address_problem(url)
    if problem:
        return problem
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        return "must be https, except on this machine"
    return None


def address_problem(url: str) -> str | None:
    """Why nothing can be asked at ``url``."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is no address"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "may hold only visible ASCII characters"
    if parts.scheme not in ("https", "http") or not host:
        return "must begin with https://HOST"
    if "@" in parts.netloc or parts.fragment:
        return "may have no user, password or fragment"
    return None


def _read_public_key(path: Path, read: TableReader) -> str:
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeError) as error:
        read.wrong(f"public_key_file {path}: {getattr(error, 'strerror', None) or 'no PEM text'}")
        return ""
    if "PRIVATE KEY" in text:
        read.wrong(f"public_key_file {path} holds a private key: give pushd the public one only")
    elif "-----BEGIN " not in text:
        read.wrong(f"public_key_file {path} is no PEM text (-----BEGIN PUBLIC KEY-----)")
    return text


JWT_KEYS = TableList("jwt", "kid_of_issuer", _read_jwt, shown="name")
