"""Makes a node's parts from its settings: keys, the log, the hub. Nothing runs yet."""

from pushd.build.hub import Role, make_hub
from pushd.build.keys import (
    make_authenticator,
    make_hook,
    make_hook_rules,
    make_keys,
    make_node_tokens,
    make_origins,
    make_sources,
)
from pushd.build.log import make_log

__all__ = [
    "Role",
    "make_authenticator",
    "make_hook",
    "make_hook_rules",
    "make_hub",
    "make_keys",
    "make_log",
    "make_node_tokens",
    "make_origins",
    "make_sources",
]
