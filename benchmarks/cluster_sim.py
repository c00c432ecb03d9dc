"""``python -m benchmarks.cluster_sim``: a cluster on paper, from what single steps cost.

No process is started: this is arithmetic. Each row is one load on one number of edges; the costs
were measured (README.md, "Several nodes"), the loads are made up. A node is one core: what needs
more than one is the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

NODES: Final = (1, 10, 100, 1000)


@dataclass(frozen=True)
class Costs:
    """µs of processor time, and bytes on the wire."""

    publish: float = 60.0  # the owner, one by one: 52–68 (the case "publish")
    append: float = 25.0  # the owner, one of a batch that an edge forwards
    forward: float = 60.0  # the edge: takes a publish, asks the owner, answers
    frame: float = 8.3  # a hint to one WebSocket ("fanout")
    pull: float = 25.0  # a small pull of a client, or of an edge ("pull")
    increment: float = 6.0  # one channel's messages within a pull of several
    claim: float = 1.2  # one head within a hint: read and remembered at an edge
    head: float = 2.0  # one head within an answer of the feed: looked up and written
    taken: float = 2.6  # the same at the edge: read, and compared with what is known
    ask: float = 40.0  # an answer of the feed besides
    deliver: float = 10.0  # Redis: one message to one subscriber
    commits: float = 400.0  # a second, at most: under load several publishes share one
    turns: float = 200.0  # pulls of one edge a second, at most: one is under way at a time
    message: int = 300  # bytes with its envelope
    named: int = 30  # a head in a hint
    told: int = 75  # a head in the feed
    envelope: int = 250  # an HTTP answer with its head, or a signed hint


@dataclass(frozen=True)
class Load:
    """Per edge ``clients``, each of whom publishes ``rate`` times a second to a channel with
    ``followers``, spread over all edges; 0: everybody, and ``rate`` is of all together."""

    name: str
    clients: int
    rate: float
    followers: int


LOADS: Final = (
    Load("inboxes: a message per user and 30 s", 10_000, 1 / 30, 1),
    Load("groups of 30: a message per user and 5 min", 10_000, 1 / 300, 30),
    Load("one channel for all: 1 message a second", 10_000, 1.0, 0),
)


class Row(NamedTuple):
    """A second of the cluster. Shares are of one core."""

    nodes: int
    publishes: float
    hints: float  # that Redis takes
    delivered: float  # that Redis hands out
    pulls: float  # of edges, that the owner answers
    increments: float  # of channels within those
    owner_mb: float
    redis_mb: float
    owner: float
    redis: float
    edge: float

    @property
    def limit(self) -> str:
        shares = {"owner": self.owner, "Redis": self.redis, "edges": self.edge}
        name = max(shares, key=lambda each: shares[each])
        return f"{name}, {shares[name]:.1f} cores" if shares[name] > 1 else "none"


def edges_of(followers: int, nodes: int) -> float:
    """On how many of the edges a channel with so many followers is followed, on average."""
    return nodes * (1 - (1 - 1 / nodes) ** followers)


def row(load: Load, nodes: int, costs: Costs) -> Row:
    everybody = load.clients * nodes
    publishes = load.rate * (everybody if load.followers else 1)
    followers = load.followers or everybody
    edges = edges_of(followers, nodes)  # that pull one publish
    told = publishes * followers / nodes  # clients of one edge, a second

    hints = min(publishes, costs.commits)
    increments = publishes * edges
    pulls = nodes * min(costs.turns, hints, increments / nodes)
    heads = nodes * publishes  # told by the feed: all heads to all edges
    owner = (
        publishes * costs.append
        + pulls * costs.pull
        + increments * costs.increment
        + nodes * costs.ask
        + heads * costs.head
    )
    edge = (
        publishes / nodes * costs.forward
        + publishes * (costs.claim + costs.taken)
        + (pulls / nodes) * costs.pull
        + told * (costs.frame + costs.pull)
    )
    owner_bytes = increments * costs.message + (pulls + nodes) * costs.envelope + heads * costs.told
    redis_bytes = nodes * (hints * costs.envelope + publishes * costs.named)
    return Row(
        nodes,
        publishes,
        hints,
        hints * nodes,
        pulls,
        increments,
        owner_bytes / 1e6,
        redis_bytes / 1e6,
        owner / 1e6,
        hints * nodes * costs.deliver / 1e6,
        edge / 1e6,
    )


def largest(load: Load, costs: Costs) -> int:
    """With how many edges nothing needs more than a core."""
    nodes = 1
    while row(load, nodes + 1, costs).limit == "none" and nodes < 100_000:
        nodes += 1
    return nodes


def table(load: Load, costs: Costs) -> Table:
    shown = Table(title=f"{load.name} ({load.clients:,} clients an edge)", box=None)
    for name in ("edges", "clients", "publishes/s", "hints/s", "handed out/s", "pulls/s"):
        shown.add_column(name, justify="right")
    for name in ("increments/s", "owner MB/s", "Redis MB/s", "owner", "Redis", "an edge", "limit"):
        shown.add_column(name, justify="right")
    for nodes in NODES:
        each = row(load, nodes, costs)
        counts = (each.publishes, each.hints, each.delivered, each.pulls, each.increments)
        shares = (each.owner, each.redis, each.edge)
        shown.add_row(
            *(f"{nodes:,}", f"{load.clients * nodes:,}"),
            *(f"{count:,.0f}" for count in counts),
            *(f"{each.owner_mb:,.1f}", f"{each.redis_mb:,.1f}"),
            *(f"{share:.0%}" for share in shares),
            each.limit,
        )
    return shown


def main() -> None:
    console, costs = Console(width=140, highlight=False), Costs()
    for load in LOADS:
        console.print(table(load, costs))
        console.print(f"nothing needs more than a core up to {largest(load, costs):,} edges\n")


if __name__ == "__main__":
    main()
