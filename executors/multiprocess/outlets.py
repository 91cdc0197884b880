"""The output edges of a worker: which ports they belong to, and how a datum is published on all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeAlias

from penstock.executors.codec import Codec
from penstock.executors.contract import NodeExecution, RuntimeData
from penstock.executors.host import NodeHost
from penstock.executors.multiprocess.messages import LinkSpec
from penstock.executors.multiprocess.replay import NotRepeated, Repeats
from penstock.executors.multiprocess.strands import CauseCodec, strands
from penstock.executors.translate import contract_error
from penstock.shm.blocking import FeedbackSender, Sender
from penstock.shm.channel import EdgeOptions, ReceiveEnd
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import Interrupted, PeerLost, SharedMemoryError
from penstock.shm.ring import Ring
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool
from penstock.shm.splitting import SplittingSender

__all__ = ["EdgeFailed", "Outlet", "Outlets", "Route", "options_of", "ring_of"]


class EdgeFailed(NodeExecution):
    """Something went wrong on an edge, which is not the fault of a datum."""


class Outlet:
    """An output edge with its codec: a ring, or one for each replica that reads it.

    Attributes:
        ends: of the rings.
    """

    def __init__(
        self, specs: Sequence[LinkSpec], bell: Doorbell, pool: SlabPool, causes: ReceiveEnd | None = None
    ) -> None:
        self.spec = spec = specs[0]
        kind = FeedbackSender if spec.feedback else Sender
        self.ends: list[Sender] = [
            kind(ring_of(one), pool, bell, Doorbell(*one.peer_bell), options_of(one)) for one in specs
        ]
        self._splitter = SplittingSender(self.ends) if len(self.ends) > 1 else None
        self.sender: Sender | SplittingSender = self._splitter or self.ends[0]
        self.codec = Codec(spec.name) if causes is None else CauseCodec(spec.name, causes)

    @property
    def next(self) -> Sender:
        """Where the next output goes."""
        return self.ends[0] if self._splitter is None else self._splitter.next

    def pass_on(self) -> None:
        """An output that was to go there is not to go there again."""
        if self._splitter is not None:
            self._splitter.pass_on()

    def go_back(self, count: int = 0) -> None:
        """So many outputs will come again."""
        if self._splitter is not None:
            self._splitter.go_back(count)


Route: TypeAlias = list[tuple[Outlet, int]]
"""The edges of a port, each with the number of the port that its records say."""


class Outlets:
    """All output edges of a worker's node.

    Attributes:
        routes: by port.
        publish: `publish(route, data)` puts a datum on every edge of a port, waiting for room. Of a successor it keeps
            back what was published before, until all of that has come again.
    """

    def __init__(
        self,
        host: NodeHost,
        specs: Sequence[LinkSpec],
        bell: Doorbell,
        pool: SlabPool,
        causes: ReceiveEnd | None = None,
    ) -> None:
        """Take the edges.

        Args:
            host: of the node.
            specs: of their rings.
            bell: of this process.
            pool: likewise, for large payloads.
            causes: of a replica, its input.
        """
        self._node_id = host.ctx.node_id
        self.all: list[Outlet] = [Outlet(ends, bell, pool, causes) for _, ends in strands(specs, specs)]
        self.routes: dict[str, Route] = {port: self._route(port, number) for number, port in enumerate(host.outputs)}
        self.publish: Callable[[Route, RuntimeData], None] = self._publish
        self._repeats: Repeats | None = None

    @property
    def senders(self) -> list[Sender]:
        """Of all rings."""
        return [end for outlet in self.all for end in outlet.ends]

    @property
    def merged(self) -> list[Sender]:
        """Of a replica: those of the rings whose readers have others beside them, and wait for their turn."""
        return [end for outlet in self.all if outlet.spec.causes for end in outlet.ends]

    @property
    def ended(self) -> bool:
        """Whether there are edges, and a predecessor has ended them all; of feedback, somebody else may have."""
        own = [end for outlet in self.all if not outlet.spec.feedback for end in outlet.ends]
        return bool(own) and all(end.ring.ended for end in own)

    def end(self) -> None:
        """Nothing follows."""
        for outlet in self.all:
            outlet.sender.end()

    @property
    def repeats(self) -> bool:
        """Whether something that a predecessor has published is still to come again."""
        return self._repeats is not None

    def made(self) -> list[int]:
        """How many outputs of each edge were decided on, without those that are still to come again."""
        repeats = self._repeats
        return [end.ring.decided - (repeats.left(end) if repeats is not None else 0) for end in self.senders]

    def keep_back(self, counts: Sequence[int]) -> None:
        """Of a successor: so many outputs of each ring will come again."""
        if any(counts):
            self._repeats = Repeats(self.senders, counts)
            self.publish = self._publish_what_is_new
            left = iter(counts)
            for outlet in self.all:
                outlet.go_back(sum(islice(left, len(outlet.ends))))

    def forget_repeats(self) -> None:
        """What was to come again will not: the datum that it came from is set aside. Dead letters will all the same."""
        if self._repeats is not None:
            own = [outlet for outlet in self.all if outlet.spec.port in self.routes]
            self._repeats.forget({end for outlet in own for end in outlet.ends})
            for outlet in own:
                outlet.go_back()
            self._see_all_repeated(self._repeats)

    def _see_all_repeated(self, repeats: Repeats) -> None:
        if not repeats:
            self._repeats = None
            self.publish = self._publish

    def check_repeats(self) -> None:
        """See that everything has come again that was to.

        Raises:
            NodeExecution: it has not, so the node gives something else than before the crash.
        """
        if self._repeats is not None:
            try:
                self._repeats.check_all_came()
            except NotRepeated as error:
                raise self._not_repeated(error) from None

    def _publish(self, route: Route, data: RuntimeData) -> None:
        message = None
        for outlet, number in route:
            if message is None:
                message = outlet.codec.encode(data, port=number)
            try:
                if not outlet.sender.offer(message):
                    outlet.sender.send(message)
            except (Interrupted, PeerLost):
                raise
            except SharedMemoryError as error:
                raise self._edge_error(error, outlet.spec.name) from error

    def _publish_what_is_new(self, route: Route, data: RuntimeData) -> None:
        repeats = self._repeats
        assert repeats is not None
        new: Route = []
        try:
            for outlet, number in route:
                if repeats.keeps_back(outlet.next, outlet.codec.encode(data, port=number)):
                    outlet.pass_on()
                else:
                    new.append((outlet, number))
        except NotRepeated as error:
            raise self._not_repeated(error) from None
        self._see_all_repeated(repeats)
        self._publish(new, data)

    def _not_repeated(self, error: NotRepeated) -> NodeExecution:
        text = f"{error}: it is no function of its inputs alone, so `delivery: replay` is not for it"
        return EdgeFailed(self._node_id, text)

    def _edge_error(self, error: SharedMemoryError, edge: str) -> NodeExecution:
        """An error of an edge, with its name; what it means is in the text, as the engine gets no more than that."""
        said = contract_error(error, edge).message
        return EdgeFailed(self._node_id, said if edge in said else f"edge {edge}: {said}")

    def _route(self, port: str, number: int) -> Route:
        return [
            (outlet, number if outlet.spec.port is None else 0)
            for outlet in self.all
            if outlet.spec.port in {None, port}
        ]


def ring_of(spec: LinkSpec) -> Ring:
    return Ring(Segment.attach(spec.ring))


def options_of(spec: LinkSpec) -> EdgeOptions:
    return EdgeOptions(
        name=spec.name,
        lane=spec.lane,
        max_bytes=spec.max_bytes,
        timeout_s=spec.timeout_s,
        max_age_s=spec.max_age_s,
        wait=spec.wait,
    )
