"""The demo pages, used as people use them: every message is shown once and in order."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.clientjs.people import Person, open_window, world
from tests.support.app import KEY
from tests.support.browser import browser
from tests.support.server import SECRET, ServerProcess

# Where the pictures of the last run are; looked at by people.
PICTURES = Path(__file__).parents[2] / "build" / "pictures"


async def test_two_people_chat(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        alice, bob = await at.window("chat", "alice"), await at.window("chat", "bob")
        said = []
        for number in range(10):
            person = (alice, bob)[number % 2]
            said.append(f"{person.user} {number}")
            await person.say(said[-1])
            for each in (alice, bob):
                await each.sees_texts(said)
        await alice.see("document.getElementById('here').textContent.includes('Bob')")
        # Between the two of them: unread until it is looked at, read on both sides then.
        await alice.opens("Bob")
        await alice.say("just between us")
        await bob.see("document.title.startsWith('(1)')")
        await bob.opens("Alice")
        await bob.sees_texts(["just between us"])
        await alice.see("document.querySelector('.bubble.mine .ticks.read')")
        await bob.see("document.title === 'Chat'")


async def test_a_second_tab_of_the_same_person(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        first, second = await at.window("chat", "alice"), await at.window("chat", "alice")
        for number in range(6):
            await (first, second)[number % 2].say(f"m{number}")
            for each in (first, second):
                await each.sees_texts([f"m{count}" for count in range(number + 1)])


@pytest.mark.parametrize("way", ["events", "polls"])
async def test_without_websockets(tmp_path: Path, way: str) -> None:
    async with world(tmp_path) as at:
        alice, bob = await at.window("chat", "alice"), await at.window("chat", "bob")
        await alice.page.call("Page.bringToFront")  # a page that nobody sees holds no polls
        await alice.presses(way)
        await alice.is_live({"events": "sse", "polls": "poll"}[way])
        said = []
        for number in range(6):
            person = (alice, bob)[number % 2]
            said.append(f"m{number}")
            await person.say(said[-1])
            for each in (alice, bob):
                await each.sees_texts(said)


async def test_all_hints_are_dropped(tmp_path: Path) -> None:
    """What nobody hints at is pulled within the interval."""
    async with world(tmp_path, pull_interval=2.0) as at:
        alice, bob = await at.window("chat", "alice"), await at.window("chat", "bob")
        await alice.presses("Drop hints")
        said = [f"m{number}" for number in range(5)]
        for text in said:
            await bob.say(text)
        await bob.sees_texts(said)
        await alice.sees_texts(said)


async def test_the_line_is_cut_for_half_a_minute(tmp_path: Path) -> None:
    """What is said meanwhile on either side arrives afterwards."""
    async with world(tmp_path) as at:
        alice, bob = await at.window("chat", "alice"), await at.window("chat", "bob")
        await alice.say("before")
        await bob.sees_texts(["before"])
        await alice.presses("Cut the line")
        await bob.say("while it is cut")
        await alice.say("from the tunnel")
        await alice.see("push.unsent === 1")
        await trio.sleep(30)  # what this test is about
        assert await alice.texts() == ["before", "from the tunnel"]
        await alice.presses("Cut the line")
        for each in (alice, bob):
            await each.sees_texts(["before", "while it is cut", "from the tunnel"])
        await alice.see("push.unsent === 0")  # bob may hear of it before she does


async def test_the_server_is_killed_and_started_again(tmp_path: Path) -> None:
    async with (
        ServerProcess(tmp_path, dev="true") as server,
        browser(tmp_path / "profile") as driven,
    ):
        base = "http://{}:{}".format(*server.address)
        alice = await open_window(driven, base, "chat", "alice", SECRET)
        bob = await open_window(driven, base, "chat", "bob", SECRET)
        await alice.say("one")
        await bob.sees_texts(["one"])
        await server.kill()
        await alice.say("two")
        await server.start()
        await bob.sees_texts(["one", "two"])
        await bob.say("three")
        for each in (alice, bob):
            await each.sees_texts(["one", "two", "three"])


async def test_scrolling_back(tmp_path: Path) -> None:
    """In a later window: what this device has got already does not come by itself."""
    async with world(tmp_path) as at:
        alice = await at.window("chat", "alice")
        # Its history was read, and is empty: of what comes before that, the page shows the last.
        await alice.see("document.querySelector('.empty')")
        for number in range(75):
            await at.server.publish("group:lobby", {"text": f"m{number}"}, sender="bob")
        texts = [f"m{number}" for number in range(75)]
        await alice.sees_texts(texts)
        path = "/v1/channels/group:lobby/receipts?seq=75"
        with trio.fail_after(180):
            while not (await at.server.ask("GET", path, token=KEY)).json["items"]:
                await trio.sleep(0.05)
        await alice.page.call("Page.close")
        alice = await at.window("chat", "alice")
        await alice.sees_texts(texts[45:])
        await alice.presses("Earlier messages")
        await alice.see("document.querySelectorAll('.bubble').length > 30")
        await alice.page.run("document.getElementById('messages').scrollTop = 0")
        await alice.see("document.querySelectorAll('.bubble').length === 75")
        assert await alice.texts() == texts


async def notes(person: Person) -> list[str]:
    found: list[str] = await person.page.run(
        "[...document.querySelectorAll('.note')].map(each =>"
        " (each.classList.contains('unread') ? '* ' : '')"
        " + each.querySelector('.title').textContent)"
    )
    return found


async def test_notifications_wait_and_are_read_in_every_window(tmp_path: Path) -> None:
    async with world(tmp_path) as at:
        for number in range(3):
            await at.server.publish("user:bob:notes", {"text": f"n{number}"})
        first = await at.window("inbox", "bob")
        await first.see("!document.getElementById('welcome').hidden")
        welcome = await first.page.run("document.getElementById('welcome').textContent")
        assert "3 notifications" in welcome
        second = await at.window("inbox", "bob")
        await second.see("document.querySelectorAll('.note.unread').length === 3")
        await at.server.publish("user:bob:notes", {"text": "n3"})
        for each in (first, second):
            await each.see("document.querySelectorAll('.note').length === 4")
            assert await notes(each) == ["* n3", "* n2", "* n1", "* n0"]
        # That one, and what came before it.
        await first.page.run("document.querySelectorAll('.note button')[2].click(); 0")
        for each in (first, second):
            await each.see("document.querySelectorAll('.note.unread').length === 2")
            assert await notes(each) == ["* n3", "* n2", "n1", "n0"]
        await second.page.run("document.getElementById('all').click(); 0")
        for each in (first, second):
            await each.see("document.title === 'Inbox'")


async def test_pictures(tmp_path: Path) -> None:
    """Phone and desktop, light and dark, with the panel and without; nothing is cut off."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    async with world(tmp_path) as at:
        alice, bob = await at.window("chat", "alice"), await at.window("chat", "bob")
        said = ["Is the release out?", "The last test runs.", "Then after lunch. " + "x" * 200]
        for number, text in enumerate(said):
            await (alice, bob)[number % 2].say(text)
            await alice.sees_texts(said[: number + 1])
        for number in range(3):
            await at.server.publish("user:alice:notes", {"text": f"Note {number}"})
        inbox = await at.window("inbox", "alice")
        await inbox.see("!document.getElementById('welcome').hidden")
        for person, name in ((alice, "chat"), (inbox, "inbox")):
            for dark in (False, True):
                look = "dark" if dark else "light"
                for screen, size in (("phone", (390, 780)), ("desktop", (1280, 800))):
                    for panel in ("panel", "plain"):
                        path = PICTURES / f"{name}-{screen}-{look}-{panel}.png"
                        shown = str(panel != "panel").lower()
                        await person.page.run(f"document.querySelector('.panel').hidden = {shown}")
                        await person.photograph(path, *size, dark=dark)
    assert len(list(PICTURES.glob("*.png"))) >= 16
