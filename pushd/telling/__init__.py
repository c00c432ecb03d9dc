"""Telling the application what happens: what clients and services publish, who comes and goes.

``messages`` follows the log, as any client does: a commit says that a channel is farther, what is
new is read and posted, and only then is the cursor recorded. ``portions`` reads what is to be told
of a channel, ``backlog`` says whose turn it is, ``starting`` finds what was not told before.
``events`` has what is only in memory, in a queue with a bound. ``posting`` sends one batch and says
what came of it.
"""

from pushd.telling.events import Events
from pushd.telling.making import Telling, make_telling
from pushd.telling.messages import Messages

__all__ = ["Events", "Messages", "Telling", "make_telling"]
