"""What a following client decides: cursors, hints and answers in, 'pull these' and events out.

No I/O and no clock. Two rules carry it (docs/protocol.md, "Hints over a WebSocket"): only an answer
to a pull moves a cursor, never a hint; and a hint that is ahead of the cursor, or of another
epoch, wants a pull. A pull settles every hint that was heard before it was sent; what is heard
while it is under way is compared with its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from pushd.client.answers import ChannelAnswer, Head, Refusal
from pushd.client.ask import Ask
from pushd.client.complete import check_complete, is_ahead, position
from pushd.client.events import Dropped, Event, Expiring, Placed, Received, Reset
from pushd.client.followed import Followed, reset
from pushd.client.placing import Placing
from pushd.core.positions import HEAD, START, Cursor, parse_cursor

# The server takes so many cursors at once.
MOST_CHANNELS: Final = 128
# Of these a first contact wants what there is already; they begin with a message for this client.
_SESSION: Final = "session:"
_OWN: Final = ("user:", _SESSION)
_GROUP: Final = "group:"


class FollowState:
    """Cursors of the followed channels, and which of them want a pull."""

    def __init__(self, cursors: Mapping[str, str], *, mine: bool = False) -> None:
        """``cursors``: where to begin in each channel; ``mine``: follow the user's own, too.

        Raises BadRequest for a bad cursor.
        """
        self._channels: dict[str, Followed] = {}
        self._mine = mine
        self._left_out: set[str] = set()
        self._placing = Placing()
        for name, text in cursors.items():
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        """Follow one more, from the cursor that ``text`` spells."""
        cursor = parse_cursor(text)
        # 'head' names no position until a pull fixes it; the others wait for the hello.
        hint = self._placing.take(name)
        self._channels[name] = Followed(cursor, want=cursor == HEAD, taken=text, hint=hint)

    @property
    def channels(self) -> list[str]:
        """Their names, in the order in which they were added."""
        return list(self._channels)

    @property
    def cursors(self) -> dict[str, str]:
        """Positions after what the consumer has taken: what may be saved."""
        return {name: channel.taken for name, channel in self._channels.items()}

    def enter(self, session: str | None) -> None:
        """What belonged to an earlier session is gone with it: that is no news."""
        for name in [*self._channels]:
            if name.startswith(_SESSION) and name != f"{_SESSION}{session}":
                del self._channels[name]

    @property
    def places(self) -> dict[str, str]:
        """Positions after what was pulled: where the next pull begins."""
        return {name: str(channel.cursor) for name, channel in self._channels.items()}

    @property
    def is_empty(self) -> bool:
        """Nothing is followed, and nothing will be."""
        return not self._channels and not self._mine

    @property
    def behind(self) -> bool:
        """Whether any channel wants a pull."""
        return bool(self._placing) or any(channel.want for channel in self._channels.values())

    # -- hints ---------------------------------------------------------------------------

    def heard(self, name: str, epoch: str, seq: int) -> bool:
        """A hint or a head of a hello. True when it makes the channel want a pull."""
        channel = self._channels.get(name)
        if channel is None:
            self._placing.heard(name, epoch, seq)
            return False
        known = channel.hint
        # Within an epoch the highest counts; hints may be repeated and come out of order.
        if known is None or known[0] != epoch or known[1] < seq:
            channel.hint = (epoch, seq)
        if not is_ahead(epoch, seq, channel.cursor):
            return False
        channel.want = True
        return True

    def met(self, name: str, head: Head, after: str | None = None) -> list[Event]:
        """A head that a hello tells: of a followed channel, or of one of the user's own.

        ``after``: where that one begins; None leaves it to the server.
        """
        events: list[Event] = []
        if self.adopts(name) and after is not None:
            self.add(name, after)
        elif self.adopts(name) and name.startswith(_GROUP) and head.delivered is None:
            self._placing.add(name)
        elif self.adopts(name):
            # As the server does at a first contact: its own from the start, others from now on.
            start = START if name.startswith(_OWN) else Cursor(head.epoch, head.head)
            self.add(name, head.delivered or str(start))
            events = [Placed(name, self.places[name])]
        elif name not in self._channels:
            return self._leave_out(name)
        self.heard(name, head.epoch, head.head)
        return events

    def adopts(self, name: str) -> bool:
        """Whether this is one of the user's own that is not followed yet."""
        return self._mine and name not in self._channels and len(self._channels) < MOST_CHANNELS

    def _leave_out(self, name: str) -> list[Event]:
        """One of the user's own beyond what can be followed: said once."""
        if not self._mine or name in self._left_out:
            return []
        self._left_out.add(name)
        return [Dropped(name, "too_large", f"At most {MOST_CHANNELS} channels are followed.")]

    def suspect(self, names: Iterable[str]) -> None:
        """Nothing is known of these channels' heads: a pull has to tell."""
        for name in names:
            if (channel := self._channels.get(name)) is not None:
                channel.want = True

    def drop(self, name: str, refusal: Refusal) -> list[Event]:
        """Stop following a channel that the server refuses."""
        self._placing.take(name)
        # A session's own channel ends with it: that is no news.
        if self._channels.pop(name, None) is None or name.startswith(_SESSION):
            return []
        return [Dropped(name, refusal.code, refusal.detail)]

    # -- pulls ---------------------------------------------------------------------------

    def begin(self, *, everything: bool) -> Ask:
        """The pull to send now: the channels that are behind, or all of them.

        Follow it by ``answered`` for each channel, or by ``failed``.
        """
        asked = {
            name: channel for name, channel in self._channels.items() if everything or channel.want
        }
        wanted = frozenset(name for name, channel in asked.items() if channel.want)
        atleast = {
            name: channel.hint[1]
            for name, channel in asked.items()
            if channel.hint is not None and channel.hint[0] == channel.cursor.epoch
        }
        for channel in asked.values():
            channel.want, channel.hint = False, None
        cursors = {name: str(channel.cursor) for name, channel in asked.items()}
        placing = self._placing.ask()
        return Ask(cursors, wanted, atleast, self._mine and (everything or bool(placing)), placing)

    def failed(self, ask: Ask) -> None:
        """The pull brought no answer: what it was to fetch is still wanted."""
        self.suspect(ask.wanted)
        self._placing.failed(ask.placing)

    def settled(self, ask: Ask) -> None:
        """The pull was answered as a whole: what it has not brought is the user's no longer."""
        self._placing.ended(ask.placing)

    def answered(self, name: str, asked: str, answer: ChannelAnswer) -> list[Event]:
        """What one channel's answer means, in order. ``asked``: the cursor that was sent.

        An answer to a cursor that is no longer this channel's changes nothing. Raises BadAnswer
        where going on would leave a silent hole.
        """
        channel = self._channels.get(name)
        if channel is None or asked != str(channel.cursor):
            return []
        if answer.error is not None:
            return self._refused(name, channel, answer.error)
        # The pull told the server this cursor, and it recorded it as delivered.
        channel.recorded = asked
        if answer.reset is not None:
            return [reset(name, channel, answer.reset)]
        before, after = channel.cursor, position(answer.next)
        check_complete(name, before, after, answer)
        channel.cursor = after
        if channel.hint is not None:
            channel.want = is_ahead(*channel.hint, after)
        channel.want = channel.want or answer.more
        if before == HEAD and not answer.messages:
            return [Placed(name, answer.next)]
        late = answer.expiring
        events: list[Event] = [] if late is None else [Expiring(name, late.messages, late.in_ms)]
        events += [
            Received(name, f"{answer.epoch}.{message.seq}", message) for message in answer.messages
        ]
        return events

    def answered_unasked(self, name: str, answer: ChannelAnswer) -> list[Event]:
        """A channel that ``mine`` has brought; where its answer begins the server knows."""
        if answer.error is not None or name in self._channels:
            return []
        if not self.adopts(name):
            return self._leave_out(name)
        self.add(name, str(START))
        return self.answered(name, str(START), answer)

    def _refused(self, name: str, channel: Followed, error: Refusal) -> list[Event]:
        if error.code in ("forbidden", "bad_request", "not_found", "unauthorized"):
            return self.drop(name, error)
        channel.want = True
        return []

    # -- what the consumer has taken -------------------------------------------------------

    def took(self, event: Event) -> None:
        """The consumer has processed this event: its cursor may be acked and saved."""
        if isinstance(event, Received | Reset | Placed):
            channel = self._channels.get(event.channel)
            if channel is not None:
                channel.taken = event.cursor

    def unacked(self, most: int) -> dict[str, str]:
        """Cursors that the server has not been told, at most so many."""
        found: dict[str, str] = {}
        for name, channel in self._channels.items():
            if len(found) == most:
                break
            if channel.taken not in (channel.recorded, "0", "head"):
                found[name] = channel.taken
        return found

    def acked(self, cursors: Mapping[str, str]) -> None:
        """The server was told these."""
        for name, cursor in cursors.items():
            if (channel := self._channels.get(name)) is not None:
                channel.recorded = cursor
