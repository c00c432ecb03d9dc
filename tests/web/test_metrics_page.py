"""What an operator can see without logging in: sizes, backlogs, ages."""

from __future__ import annotations

import math
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pushd.settings.jwt_tables import JwtTable
from tests.support import jwks
from tests.support.app import KEY, Server, running_server
from tests.support.events import listening
from tests.support.sessions import session


async def samples(server: Server) -> dict[str, float]:
    """By name, and label values after it."""
    text = (await server.ask("GET", "/metrics")).body.decode()
    return {
        " ".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_metrics_tell_of_what_is_removed_and_of_the_disk(server: Server) -> None:
    for number in range(5):
        await server.publish("news", number)
    await server.ask("POST", "/v1/channels/news/trim", token=KEY, body={"before": 4})
    await server.ask("POST", "/v1/revocations", token=KEY, body={"user": "bob"})
    found = await samples(server)
    assert found["pushd_cut_messages_total"] == 3
    assert found["pushd_revocations"] == 1
    assert found["pushd_database_bytes"] > 0
    assert found["pushd_disk_free_bytes"] > 0
    assert found["pushd_age_retention_paused"] == 0
    assert found["pushd_batch_messages_sum"] == 5
    # Whatever else there is can be read as well.
    assert {
        *("pushd_unswept_channels", "pushd_swept_messages_total", "pushd_deleted_channels_total"),
        *("pushd_checkpoints_total", "pushd_database_reusable_bytes", "pushd_disk_reserve_bytes"),
        *("pushd_waiting_reads", "pushd_unwritten_marks", "pushd_body_bytes", "pushd_shed_total"),
    } <= found.keys()


async def test_metrics_tell_sessions_by_transport_and_the_age_of_key_sets(tmp_path: Path) -> None:
    good, never = tmp_path / "jwks.json", "http://127.0.0.1:1/jwks.json"
    good.write_bytes(jwks.key_set("one"))
    tables = (
        JwtTable("", "", algs=("EdDSA",), aud=jwks.AUD, jwks_file=good),
        JwtTable("", "", algs=("EdDSA",), aud=jwks.AUD, iss=jwks.ISS, jwks_url=never),
    )
    async with (
        running_server(tmp_path, jwt=tables) as server,
        session(server),
        listening(server, token=server.token("bob")) as stream,
    ):
        await stream.expect("hello")
        found = await samples(server)
    assert found["pushd_sessions_by_transport websocket"] == 1
    assert found["pushd_sessions_by_transport sse"] == 1
    assert 0 <= found[f"pushd_key_set_age_seconds {good}"] < 60
    assert found[f"pushd_key_set_age_seconds {never}"] == math.inf


async def test_refusals_over_websockets_are_counted_as_well(server: Server) -> None:
    """A key that was changed shows with the first clients, whatever they connect by."""
    errors = server.hub.counters.errors
    async with session(server) as socket:
        for frame in ({"type": "nonsense"}, {"type": "publish", "to": "user:bob", "data": 1}):
            await socket.send(frame)
            assert (await socket.message())["type"] == "error"
    assert sum(errors.values()) == 2
    async with server.socket("/v1/ws", token="wrong") as socket:
        assert (await socket.message())["code"] == 4001
    assert errors["unauthorized"] == 1
