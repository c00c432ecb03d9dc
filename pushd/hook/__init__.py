"""The connect hook: the application says who a token is of that is neither a JWT nor an API key.

``known`` finds what was said before; else there is one ``Question`` for all who ask the same, and
whoever needs the answer waits for it (``Unasked`` carries it). ``answers`` checks what the
application says as strictly as the claims of a token; ``line`` is the way to it, ``limits`` keeps
strangers from asking it whatever they like; ``hook`` puts it together.
"""

from pushd.hook.hook import ConnectHook
from pushd.hook.line import HookRules, Sent
from pushd.hook.question import Question, Unasked

__all__ = ["ConnectHook", "HookRules", "Question", "Sent", "Unasked"]
