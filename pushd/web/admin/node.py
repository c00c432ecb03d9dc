"""This node: its numbers, its place among the nodes, its heartbeat check."""

from __future__ import annotations

import time

import trio

from pushd import __version__
from pushd.core.nodes import NodeRecord
from pushd.core.permissions import ADMIN, READ
from pushd.web.call import Call
from pushd.web.operation import Answer, Operation
from pushd.web.shapes.node import Checked, Cluster, EndpointState, NodeItem, Nodes, Stats, Told

SLICE = 500  # sessions between two checkpoints


async def stats(call: Call) -> Stats:
    hub = call.hub
    application = hub.application
    telling = application.telling
    log = hub.log.statistics()
    users = len(hub.presence)
    nodes = len(await hub.nodes.all(hub.describe()))
    return Stats(
        node=hub.node_id,
        version=__version__,
        uptime_s=max(0, int(time.time() - hub.since)),
        ready=hub.ready,
        sessions=len(hub.sessions),
        users=users,
        transports=hub.sessions.transports(),
        held_polls=len(hub.pulls.held),
        connections=hub.connections,
        followed=len(hub.fanout.topics),
        groups=len(hub.log.groups),
        memberships=hub.log.groups.memberships,
        channels=log.channels,
        messages=log.messages,
        backlog_bytes=log.backlog_bytes,
        wal_bytes=log.wal_bytes,
        garbage=log.garbage,
        cut_messages=log.cut_messages,
        deleted_channels=log.deleted_channels,
        age_retention="paused" if log.age_waits else "on",
        tail_bytes=hub.tails.size,
        loop_lag_ms=round(hub.lag_s * 1000, 3),
        calls=application.calls.under_way,
        application={each.name: EndpointState(**each.state()) for each in hub.endpoints},
        telling=Told(telling.channels_behind, telling.events_waiting, hub.counters.events_lost),
        cluster=Cluster(nodes, len(hub.sessions.by_id), users),
    )


async def nodes(call: Call) -> Nodes:
    hub = call.hub
    found = await hub.nodes.all(hub.describe())
    return Nodes([_item(each) for each in found], None, hub.nodes.redis())


def _item(record: NodeRecord) -> NodeItem:
    return NodeItem(
        node=record.node,
        role=record.role,
        url=record.url,
        version=record.version,
        since=int(record.since * 1000),
        sessions=record.sessions,
        connections=record.connections,
        held_polls=record.held,
        lag_ms=record.lag_ms,
        stale_ms=record.stale_ms,
        redis=record.redis,
    )


async def check_heartbeats(call: Call) -> Checked:
    """As the timing wheel does, but now, and of all sessions."""
    hub = call.hub
    sessions = [each for each in hub.sessions.by_id.values() if each.node is None]
    reaped = 0
    for at, session in enumerate(sessions):
        if at % SLICE == SLICE - 1:
            await trio.lowlevel.checkpoint()
        if session.id not in hub.sessions.by_id:
            continue  # ended meanwhile
        if trio.current_time() - session.last_seen >= hub.settings.heartbeat_timeout:
            session.reap()  # which is patient with transports that only listen
            reaped += session.closing
    return Checked(len(sessions), reaped)


OPERATIONS = (
    Operation(
        name="stats",
        method="GET",
        path="/v1/stats",
        tag="Nodes",
        summary="This node in numbers",
        scopes=(READ, ADMIN),
        answers=(Answer(200, "The numbers of this moment.", Stats),),
        handler=stats,
    ),
    Operation(
        name="nodes",
        method="GET",
        path="/v1/nodes",
        tag="Nodes",
        summary="All nodes",
        help="As the node knows them that is asked: each tells of itself every few seconds, and "
        "one that has not for 15 seconds is gone. A node without a cluster is alone.",
        scopes=(READ, ADMIN),
        answers=(Answer(200, "The nodes.", Nodes),),
        handler=nodes,
    ),
    Operation(
        name="check_heartbeats",
        method="POST",
        path="/v1/heartbeat/check",
        tag="Nodes",
        summary="End the sessions that kept quiet for too long, now",
        help="The server does this by itself all the time; here you need not wait for it. With "
        "several nodes it is about the sessions of the one that owns the log.",
        scopes=(ADMIN,),
        whole=True,
        answers=(Answer(200, "How many were looked at, and how many ended (4008).", Checked),),
        handler=check_heartbeats,
    ),
)
