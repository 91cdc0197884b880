"""From a plan to the parts of a run: edges, rings, local nodes and workers, connected and not yet started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from penstock.engine.declarations import POLICIES
from penstock.engine.edge import EdgeReceiver, RingReceiverEnd, RingSenderEnd
from penstock.engine.external import ExternalInput, ExternalOutput
from penstock.engine.faults import Faults, OnDeadLetter
from penstock.engine.local_edge import FeedbackEdge, LocalEdge, LocalStatistics
from penstock.engine.local_task import LocalTask, Outputs
from penstock.engine.plan import Plan, PlannedEdge, PlannedNode, PlannedPort, accepted_types
from penstock.executors.codec import Codec
from penstock.executors.contract import NodeContext
from penstock.executors.local import LocalNode
from penstock.executors.multiprocess.asleep import is_asleep
from penstock.executors.multiprocess.faults import DEAD_LETTERS
from penstock.executors.multiprocess.launch import Launch
from penstock.executors.multiprocess.lives import Worker
from penstock.executors.multiprocess.messages import NodeSpec
from penstock.executors.multiprocess.replicas import Replicas, Strands, links_of, receiver_of, sender_of
from penstock.executors.multiprocess.supervisor import OnOutput, WorkerOptions
from penstock.executors.multiprocess.wiring import Link, Party, Wiring, check_room
from penstock.executors.trace import Trace
from penstock.shm.ring import Geometry, RingStatistics
from penstock.shm.trio_channel import TrioSender
from penstock.shm.trio_doorbell import Breath
from penstock.shm.trio_strands import TrioSplitter

__all__ = ["Assembly"]

_LETTERS = 16
"""Dead letters of a worker that may wait for the engine."""


@dataclass(slots=True)
class Assembly:
    """The parts of a run.

    Attributes:
        tasks: the nodes of this process.
        workers: the others.
        wiring: of the shared edges; without them there is none, and no shared memory.
        growth: how often an edge that blocks may grow.
        local_edges, links: every edge of the plan is one of them.
        receivers: of those edges that are read in this process.
        senders: of those edges into a worker that are written in this process.
        inputs, outputs: the external ones, by name.
        faults: what each node failed on.
        letters: where the dead letters of a worker come out.
        traces: of the workers, where they are traced.
    """

    plan: Plan
    session_id: str
    on_dead_letter: OnDeadLetter
    wiring: Wiring | None = None
    growth: int = 0
    tasks: dict[str, LocalTask] = field(default_factory=dict)
    workers: dict[str, Worker | Replicas] = field(default_factory=dict)
    local_edges: dict[PlannedEdge, LocalEdge] = field(default_factory=dict)
    links: dict[PlannedEdge, Link | Strands] = field(default_factory=dict)
    receivers: dict[PlannedEdge, EdgeReceiver] = field(default_factory=dict)
    senders: dict[PlannedEdge, TrioSender | TrioSplitter] = field(default_factory=dict)
    inputs: dict[str, ExternalInput] = field(default_factory=dict)
    outputs: dict[str, ExternalOutput] = field(default_factory=dict)
    faults: dict[str, Faults] = field(default_factory=dict)
    letters: dict[str, list[RingReceiverEnd]] = field(default_factory=dict)
    traces: dict[str, list[Trace]] = field(default_factory=dict)
    _launches: dict[str, list[Launch]] = field(default_factory=dict)
    """Of each node in a worker; several are its replicas, which have a trace and an edge for dead letters each."""

    def build(self, *, grace_s: float, on_output: OnOutput, traced: bool = False) -> None:
        """Make all parts.

        Args:
            grace_s: how long a worker may take to end after SIGTERM.
            on_output: gets what it prints.
            traced: whether workers note what they do.

        Raises:
            AllocationFailed: /dev/shm is too small for the rings of all edges together.
            NodeExecution: the constructor of a node of this process failed.
        """
        wiring, breath = self.wiring, Breath()
        if wiring is not None:
            self._launch_workers(wiring, WorkerOptions(grace_s=grace_s, on_output=on_output), traced=traced)
            self._make_links(wiring)
            self._make_letters(wiring)
        for edge in self.plan.edges:
            if not edge.shared:
                decl = edge.decl
                policy = POLICIES[decl.policy]
                kind = FeedbackEdge if decl.feedback else LocalEdge
                self.local_edges[edge] = kind(
                    edge.name,
                    decl.capacity,
                    decl.max_bytes,
                    decl.timeout_s,
                    policy,
                    decl.max_age_s,
                    self.growth,
                    breath=breath,
                )
        for node in self.plan.nodes:
            if not node.in_worker:
                self.tasks[node.node_id] = self._local_task(node, wiring)
        for name, port in self.plan.inputs.items():
            outputs = self._outputs(port.edges, wiring)[""]
            self.inputs[name] = ExternalInput(name, accepted_types(port), outputs, self.session_id)
        for name, port in self.plan.outputs.items():
            self.outputs[name] = ExternalOutput(name, self._receiver(port.edges[0], wiring))
        for node in self.plan.nodes:
            if node.in_worker:
                workers = [Worker(launch, node.delivery) for launch in self._launches[node.node_id]]
                self.workers[node.node_id] = workers[0] if len(workers) == 1 else Replicas(workers)

    def statistics(self, edge: PlannedEdge) -> LocalStatistics | RingStatistics:
        """The counts of an edge, exact at every moment."""
        link = self.links.get(edge)
        return self.local_edges[edge].statistics() if link is None else link.statistics()

    def grow(self, edge: PlannedEdge) -> int:
        """Let an edge hold twice as many data and bytes. The new capacity.

        Raises:
            GrowthRefused: it has grown as often as it may.
            OutOfSharedMemory: there is no room for that in /dev/shm.
        """
        link = self.links.get(edge)
        return self.local_edges[edge].grow() if link is None else link.grow()

    def works(self, node: PlannedNode) -> bool:
        """Whether a node of this process is in its own code; of others their edges say as much."""
        return not node.in_worker and self.tasks[node.node_id].is_busy

    def pid(self, node: PlannedNode) -> int:
        """The process of a node, of replicas the first one's; 0: this one."""
        return self.workers[node.node_id].pid if node.in_worker else 0

    def is_asleep(self, node: PlannedNode) -> bool:
        """Whether the processes of a node sleep, and nobody has rung them. This one does not count."""
        if not node.in_worker:
            return True
        each = zip(self.workers[node.node_id].each, self._launches[node.node_id], strict=True)
        return all(is_asleep(worker.pid, launch.party.bell) for worker, launch in each)

    def writers_of(self, edge: PlannedEdge) -> Sequence[LocalEdge | TrioSender]:
        """Where an edge is written in this process."""
        if not edge.shared:
            return (self.local_edges[edge],)
        sender = self.senders[edge]
        return sender.senders if isinstance(sender, TrioSplitter) else (sender,)

    def end_feedback(self, edge: PlannedEdge) -> None:
        """End an edge of feedback in the place of its writer, which has nothing to send."""
        link = self.links.get(edge)
        if link is None:
            self.local_edges[edge].end()
        else:
            assert self.wiring is not None
            for one in links_of(link):
                self.wiring.end(one)

    def _launch_workers(self, wiring: Wiring, options: WorkerOptions, *, traced: bool) -> None:
        for node in self.plan.nodes:
            if node.in_worker:
                name = node.import_name
                spec = NodeSpec(node.node_id, name, dict(node.params), self.session_id, on_error=node.decl.on_error)
                own = replace(options, init_timeout_s=node.decl.init_timeout_s, surroundings=node.surroundings)
                launches = [Launch(wiring, spec, {}, own, traced) for _ in range(node.replicas)]
                self._launches[node.node_id] = launches
                self.faults[node.node_id] = Faults(node.decl, self.on_dead_letter)
                if traced:
                    self.traces[node.node_id] = [Trace(wiring.trace(launch.party).view) for launch in launches]

    def _make_links(self, wiring: Wiring) -> None:
        shared = [edge for edge in self.plan.edges if edge.shared]
        what = f"the shared memory of pipeline {self.plan.name!r} ({len(shared)} edges between processes)"
        geometries = [Geometry.fitting(strand_of(edge)[0], POLICIES[edge.decl.policy]) for edge in shared]
        check_room([shape for edge, shape in zip(shared, geometries, strict=True) for _ in range(edge.strands)], what)
        for edge in shared:
            self.links[edge] = self._join(edge, wiring)
        for edge in shared:
            self._tell_workers(edge)

    def _join(self, edge: PlannedEdge, wiring: Wiring) -> Link | Strands:
        decl, (capacity, max_bytes) = edge.decl, strand_of(edge)
        writers, readers = self._parties(edge.source, wiring), self._parties(edge.target, wiring)
        links = [
            wiring.link(
                edge.name,
                writer,
                reader,
                capacity=capacity,
                max_bytes=max_bytes,
                timeout_s=decl.timeout_s,
                policy=POLICIES[decl.policy],
                max_age_s=decl.max_age_s,
                feedback=decl.feedback,
                growth=self.growth,
            )
            for writer in writers
            for reader in readers
        ]
        return links[0] if len(links) == 1 else Strands(links)

    def _tell_workers(self, edge: PlannedEdge) -> None:
        """Add the ends of an edge to the specs of its workers; behind replicas with where those have their inputs."""
        link, writers, readers = self.links[edge], edge.source.replicas, edge.target.replicas
        causes: Sequence[str] = ("",) * edge.strands
        if isinstance(edge.source, PlannedNode) and isinstance(link, Strands) and writers > 1:
            link.inputs = links_of(self.links[edge.source.edges_in[0]])  # the only one
            causes = [one.ring.segment.name for one in link.inputs]
        for number, one in enumerate(links_of(link)):
            if isinstance(edge.source, PlannedNode) and edge.source.in_worker:
                spec = replace(one.writer_spec(edge.source_port), strands=readers, causes=causes[number])
                self._launches[edge.source.node_id][number % writers].outputs.append(spec)
            if isinstance(edge.target, PlannedNode) and edge.target.in_worker:
                spec = replace(one.reader_spec(edge.target_port), strands=writers, causes=causes[number])
                self._launches[edge.target.node_id][number % readers].inputs.append(spec)

    def _make_letters(self, wiring: Wiring) -> None:
        """An edge of its own for the data that a node in a worker fails on."""
        for node in self.plan.nodes:
            if node.in_worker and node.decl.on_error == "dead_letter":
                self.letters[node.node_id] = [
                    self._letters_of(node, launch, wiring) for launch in self._launches[node.node_id]
                ]

    @staticmethod
    def _letters_of(node: PlannedNode, launch: Launch, wiring: Wiring) -> RingReceiverEnd:
        link = wiring.link(f"{node.node_id} (dead letters)", launch.party, wiring.engine, capacity=_LETTERS)
        launch.outputs.append(link.writer_spec(DEAD_LETTERS))
        return RingReceiverEnd(wiring.receiver(link), Codec(link.name))

    def _parties(self, end: PlannedNode | PlannedPort, wiring: Wiring) -> list[Party]:
        if isinstance(end, PlannedNode) and end.in_worker:
            return [launch.party for launch in self._launches[end.node_id]]
        return [wiring.engine]

    def _local_task(self, node: PlannedNode, wiring: Wiring | None) -> LocalTask:
        ctx = NodeContext(node.node_id, node.type_name, dict(node.params), self.session_id)
        if wiring is not None and any(edge.shared for edge in node.edges_out):
            ctx.claim = wiring.claim
        local = LocalNode(node.factory, ctx, thread=node.decl.thread, signature=node.signature)
        inputs = [(edge.target_port, self._receiver(edge, wiring)) for edge in node.edges_in]
        faults = self.faults[node.node_id] = Faults(node.decl, self.on_dead_letter)
        return LocalTask(local, inputs, self._outputs(node.edges_out, wiring), faults)

    def _outputs(self, edges: list[PlannedEdge], wiring: Wiring | None) -> dict[str, Outputs]:
        """The edges out of a node or of an external input, by port."""
        outputs: dict[str, Outputs] = {}
        for edge in edges:
            port = outputs.setdefault(edge.source_port, Outputs(Codec(edge.name)))
            if edge.shared:
                assert wiring is not None
                self.senders[edge] = sender = sender_of(wiring, self.links[edge])
                port.rings.append(RingSenderEnd(sender))
            else:
                port.edges.append(self.local_edges[edge])
        return outputs

    def _receiver(self, edge: PlannedEdge, wiring: Wiring | None) -> EdgeReceiver:
        receiver: EdgeReceiver
        if edge.shared:
            assert wiring is not None
            receiver = RingReceiverEnd(receiver_of(wiring, self.links[edge]), Codec(edge.name))
        else:
            receiver = self.local_edges[edge]
        self.receivers[edge] = receiver
        return receiver


def strand_of(edge: PlannedEdge) -> tuple[int, int]:
    """(capacity, max_bytes) of each ring of an edge: its share of the whole, rounded up."""
    return -(-edge.decl.capacity // edge.strands), -(-edge.decl.max_bytes // edge.strands)
