"""Makes one node's parts from the settings. Nothing runs yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import trio

from pushd.allowance import Allowance
from pushd.announcer import Announcer
from pushd.application import Application, make_application
from pushd.audience import Audience
from pushd.build.base import Base, make_base, make_rates
from pushd.build.keys import make_authenticator, make_hook, make_origins, make_sources
from pushd.core.responses import Responses
from pushd.deliveries import Deliveries
from pushd.enforcer import Enforcer
from pushd.hub import Hub
from pushd.inboxes import Inboxes
from pushd.kept import Kept
from pushd.keysource import Sources
from pushd.log import Log
from pushd.marking import Marking
from pushd.membership import Membership
from pushd.notices import Notices
from pushd.outgoing import Flusher
from pushd.pollers import Pollers
from pushd.presence import Presence
from pushd.publish import Publisher
from pushd.pull import Pulls
from pushd.rooms import Rooms
from pushd.sessionchannels import SessionChannels
from pushd.sessions import Sessions
from pushd.settings import Settings
from pushd.tails import Tails


class Role(NamedTuple):
    """Where a node that follows another one's log is other than one that has its own.

    ``keeps``: it has the log, and with it what there is once for all nodes: who is in which topic,
    what the application is told. ``known``: all sessions are, from the start (see ``Sight``).
    """

    keeps: bool = True
    marking: type[Marking] = Marking
    deliveries: Callable[..., Deliveries] = Deliveries
    audience: type[Audience] = Audience
    known: bool = True


class _Reading(NamedTuple):
    """What answers pulls."""

    tails: Tails
    responses: Responses
    pulls: Pulls


class _People(NamedTuple):
    """Who is here, and how far they are."""

    inboxes: Inboxes
    notices: Notices
    sessions: Sessions
    deliveries: Deliveries
    marking: Marking


class _Presence(NamedTuple):
    """Who is there, and who is told of it."""

    pollers: Pollers
    presence: Presence
    announcer: Announcer
    rooms: Rooms


def make_hub(settings: Settings, log: Log, services: trio.Nursery, role: Role | None = None) -> Hub:
    """``services``: the nursery that owns what outlives a connection. ``role`` None: it keeps."""
    role = role or Role()
    base = make_base(settings, log, everywhere=role.keeps, known=role.known)
    sources = make_sources(settings)
    hook = make_hook(settings, base.standing, base.counters)
    reading = _make_reading(base)
    people = _make_people(base, role)
    publisher = _make_publisher(base)
    publisher.on_own = people.marking.wrote
    # Before presence: it hears of a session before it hears of its user.
    application = _make_application(base, publisher, reading.tails, role)
    there = _make_presence(base, people.sessions, role)
    return Hub(
        settings=settings,
        node_id=settings.node_id,
        log=log,
        authenticator=make_authenticator(settings, base.standing, sources, hook),
        hook=hook,
        access=base.access,
        namespaces=base.namespaces,
        origins=make_origins(settings),
        wheel=base.wheel,
        fanout=base.fanout,
        bodies=Allowance(settings.body_memory),
        flusher=Flusher(
            services, settings.write_timeout, base.counters, Kept(settings.answer_memory)
        ),
        **reading._asdict(),
        publisher=publisher,
        rates=make_rates(settings),
        **people._asdict(),
        session_channels=SessionChannels(
            log,
            people.sessions,
            base.fanout,
            base.wheel,
            base.happenings,
            base.access.sight,
        ),
        audience=role.audience(there.presence, base.fanout, base.access),
        application=application,
        happenings=base.happenings,
        **there._asdict(),
        membership=Membership(log.groups, people.sessions, base.fanout, base.happenings),
        counters=base.counters,
        enforcer=Enforcer(base.standing, people.sessions, reading.pulls),
        key_sources=Sources(sources),
        services=services,
    )


def _make_reading(base: Base) -> _Reading:
    settings = base.settings
    tails = Tails(settings.tail_cache, settings.tail_messages)
    responses = Responses()
    pulls = Pulls(
        base.log,
        base.places,
        tails,
        base.fanout,
        base.wheel,
        responses,
        base.counters,
        settings.max_pull_bytes,
        base.shares,
    )
    return _Reading(tails, responses, pulls)


def _make_people(base: Base, role: Role) -> _People:
    settings, log, access = base.settings, base.log, base.access
    inboxes = Inboxes()
    notices = Notices(base.wheel, settings.poll_grace)
    sessions = Sessions(
        base.places,
        base.fanout,
        access,
        base.wheel,
        inboxes,
        base.shares,
        settings.max_channels_per_session,
        base.happenings,
    )
    deliveries = role.deliveries(
        log,
        access,
        base.wheel,
        base.counters,
        base.happenings,
        base.shares,
        settings.max_wait,
    )
    marking = role.marking(
        log,
        base.places,
        base.namespaces,
        access,
        sessions,
        notices,
        deliveries,
        base.counters,
    )
    return _People(inboxes, notices, sessions, deliveries, marking)


def _make_publisher(base: Base) -> Publisher:
    settings = base.settings
    return Publisher(
        base.log,
        base.namespaces,
        base.access,
        settings.max_body,
        settings.max_targets,
        base.begun("channels"),
    )


def _make_application(base: Base, publisher: Publisher, tails: Tails, role: Role) -> Application:
    return make_application(
        base.settings,
        base.log,
        base.access,
        publisher,
        base.places,
        tails,
        base.namespaces,
        base.happenings,
        base.counters,
        tells=role.keeps,
    )


def _make_presence(base: Base, sessions: Sessions, role: Role) -> _Presence:
    settings, wheel, happenings = base.settings, base.wheel, base.happenings
    # Before presence as well: who polls on beside a connection that ends stays online.
    pollers = Pollers(sessions, wheel, happenings, settings.poll_grace)
    sight = base.access.sight
    presence = Presence(sessions.by_user, wheel, happenings, settings.presence_grace, sight=sight)
    announcer = Announcer(base.log, base.fanout, base.counters)
    rooms = Rooms(
        announcer,
        base.log,
        base.places,
        base.namespaces,
        wheel,
        base.begun("topics"),
        settings.presence_grace,
        sight=sight,
    )
    if base.namespaces.presence and role.keeps:
        sessions.rooms = rooms
    return _Presence(pollers, presence, announcer, rooms)
