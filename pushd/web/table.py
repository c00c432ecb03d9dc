"""The table of operations: what is registered, described and documented."""

from __future__ import annotations

from pushd.web import hot
from pushd.web.admin import channels, groupoperations, node, revocations, sessions, users
from pushd.web.operation import JSON, Answer, Operation

PAGES = (
    Operation(
        name="metrics",
        method="GET",
        path="/metrics",
        tag="Health",
        summary="Counters and gauges for Prometheus",
        help="Needs no key when asked from the same machine.",
        who="local",
        scopes=("read", "admin"),
        answers=(Answer(200, "The text format.", str, "text/plain"),),
    ),
    Operation(
        name="openapi",
        method="GET",
        path="/openapi.json",
        tag="Description",
        summary="This description, as OpenAPI 3.1",
        who="open",
        answers=(Answer(200, "OpenAPI.", dict, JSON),),
    ),
    Operation(
        name="asyncapi",
        method="GET",
        path="/asyncapi.json",
        tag="Description",
        summary="The frames of the WebSocket, as AsyncAPI 3",
        who="open",
        answers=(Answer(200, "AsyncAPI.", dict, JSON),),
    ),
    Operation(
        name="docs",
        method="GET",
        path="/docs",
        tag="Description",
        summary="The page for people",
        who="open",
        answers=(Answer(200, "HTML.", str, "text/html"),),
    ),
)

ADMIN: tuple[Operation, ...] = (
    *channels.OPERATIONS,
    *users.OPERATIONS,
    *sessions.OPERATIONS,
    *groupoperations.OPERATIONS,
    *revocations.OPERATIONS,
    *node.OPERATIONS,
)

OPERATIONS: tuple[Operation, ...] = (*hot.OPERATIONS, *ADMIN, *PAGES)

# As they are read, not as they are written down.
TAGS = (
    "Publish and pull",
    "Hints",
    "Channels",
    "Users and sessions",
    "Groups",
    "Revocations",
    "Nodes",
    "Health",
    "Description",
)


def full_path(operation: Operation, prefix: str) -> str:
    """Only what is under /v1 has the prefix of the settings."""
    return prefix + operation.path if operation.path.startswith("/v1/") else operation.path
