"""What a web page needs to follow channels, as an example that works: a browser test runs it."""

from __future__ import annotations

from typing import Final

EXAMPLE: Final = """\
// cursors: {"news": "0"}. Keep them where a reload finds them (localStorage).
async function follow(base, getToken, cursors, onMessage, onReset, onRefused) {
  const sleep = ms => new Promise(done => setTimeout(done, ms));
  let behind = true, wake = () => {};
  const nudge = () => { behind = true; wake(); };

  // Hints say when to pull, never what is new.
  async function hints() {
    const channels = Object.keys(cursors).map(encodeURIComponent);
    const url = base.replace(/^http/, "ws") + "/v1/ws?channels=" + channels;
    const token = await getToken();
    const socket = new WebSocket(url, ["pushd.v1", "bearer." + token]);
    socket.onmessage = event => {
      if (/^(hello|hint)$/.test(JSON.parse(event.data).type)) nudge();
    };
    await new Promise(done => { socket.onclose = done; });
  }

  // Always the same address: the browser asks leave for it (a preflight) once.
  async function pull() {
    const answer = await fetch(base + "/v1/pull", {
      method: "POST",
      headers: {
        "Authorization": "Bearer " + await getToken(),
        "Content-Type": "application/json",
      },
      body: JSON.stringify({cursors}),
      signal: AbortSignal.timeout(15_000),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail);
    for (const [channel, part] of Object.entries(body.channels)) {
      if (part.error) {
        if (part.error.status < 500) delete cursors[channel];
        onRefused(channel, part.error);
      } else if (part.reset) {
        // Messages are gone for good: load a snapshot of your data, then go on.
        await onReset(channel, part.reset);
        cursors[channel] = part.reset.resume;
        behind = true;
      } else {
        // The cursor moves after its messages: each comes at least once.
        for (const message of part.messages) await onMessage(channel, message);
        cursors[channel] = part.next;
        behind ||= part.more;
      }
    }
  }

  (async () => {
    for (;;) {
      await hints().catch(() => {});
      // Not all at once, when a server comes back.
      await sleep(1000 + 9000 * Math.random());
    }
  })();
  while (Object.keys(cursors).length) {
    const hinted = new Promise(done => { wake = done; });
    if (!behind) await Promise.race([hinted, sleep(20_000)]);
    behind = false;
    try {
      await pull();
    } catch {
      behind = true;
      await sleep(1000 + 4000 * Math.random());
    }
  }
}
"""
