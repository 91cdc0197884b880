"""The loop of a worker: take from the input rings, call the node, put into the output rings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from penstock.executors.claim import claim_from
from penstock.executors.codec import Codec
from penstock.executors.contract import Json, NodeExecution, RuntimeData, ServiceError
from penstock.executors.histogram import LONG_NS, Pace
from penstock.executors.host import NodeHost, exactly_one, outputs, wants_nothing
from penstock.executors.multiprocess.faults import Faults
from penstock.executors.multiprocess.journal import END, FLUSH, Journal, SnapshotJournal, StatelessJournal
from penstock.executors.multiprocess.messages import JournalSpec, LinkSpec, WorkerSpec
from penstock.executors.multiprocess.orders import Orders
from penstock.executors.multiprocess.outlets import EdgeFailed, Outlets, options_of, ring_of
from penstock.executors.multiprocess.page import Page, PageWord
from penstock.executors.multiprocess.strands import Input, MergedInput, ReplicaReceiver, merged
from penstock.executors.translate import contract_error, node_error
from penstock.shm.arena import ArenaMap
from penstock.shm.blocking import Receiver, Waitable, wait_any
from penstock.shm.doorbell import Doorbell
from penstock.shm.errors import EndOfChannel, Interrupted, PeerLost, SharedMemoryError
from penstock.shm.patience import Patience
from penstock.shm.record import Field, Kind, Record
from penstock.shm.segment import Segment
from penstock.shm.slab import SlabPool

if TYPE_CHECKING:
    from penstock.executors.multiprocess.portal import Portal

__all__ = ["WorkerLoop"]

_KIND: Final = Field.KIND
_SEQUENCE: Final = Field.SEQUENCE
_PUBLISHED_NS: Final = Field.PUBLISHED_NS
_PROCESSED: Final = PageWord.PROCESSED
_BUSY_NS: Final = PageWord.BUSY_NS
_SINCE_NS: Final = PageWord.SINCE_NS
_ATTENTION: Final = PageWord.ATTENTION
_CALL: Final = Kind.CALL
_NONE: Final[Mapping[str, Json]] = {}
_SETTLE_S: Final = 0.02
"""How long a worker waits for more, before it settles what it has done."""


class _StopProducing(BaseException):
    """Raised in a source's own code by SIGTERM, as KeyboardInterrupt would be: it may be waiting for its device."""


class _Input:
    """An input ring with its codec."""

    def __init__(self, number: int, spec: LinkSpec, bell: Doorbell, arenas: ArenaMap, kind: type[Receiver]) -> None:
        self.number = number
        self.spec = spec
        self.port = spec.port
        self.receiver = kind(ring_of(spec), arenas, bell, Doorbell(*spec.peer_bell), options_of(spec))
        self.codec = Codec(spec.name)


class WorkerLoop:
    """Runs one node between its rings.

    Attributes:
        processed: data given to the node; by a source, made by it. Those of its predecessors count.
        busy_ns: time spent in the node, without waiting for room on its outputs; likewise.
    """

    def __init__(self, host: NodeHost, spec: WorkerSpec) -> None:
        self.host = host
        self.bell = Doorbell(*spec.bell)
        self._journal_spec = spec.journal
        self._journal: Journal | None = None
        self._page = Page(Segment.attach(spec.page))
        self._words = self._page.words
        pool = SlabPool(spec.family)
        if spec.journal is not None and spec.journal.succeeds:
            pool.adopt()
        arenas = {link.family: ArenaMap(link.family) for link in spec.inputs}
        is_replica = any(link.causes for link in spec.outputs)
        kind = ReplicaReceiver if is_replica else Receiver
        self._inputs = [_Input(i, link, self.bell, arenas[link.family], kind) for i, link in enumerate(spec.inputs)]
        causes = self._inputs[0].receiver if is_replica else None
        self._outlets = Outlets(host, spec.outputs, self.bell, pool, causes)
        if isinstance(causes, ReplicaReceiver):
            causes.tells = self._outlets.merged
        self._routes = self._outlets.routes
        self._main_port = host.outputs[0] if host.outputs else ""
        self._answers: list[RuntimeData] | None = None
        self._portal: Portal | None = None
        self._set_aside = set(spec.journal.set_aside) if spec.journal is not None else ()
        self._faults = Faults(self._outlets, self._words) if spec.node.on_error != "fail" else None
        self._crashes = spec.journal.crashes if spec.journal is not None else ""
        self._orders: Orders | None = None
        self._made_before: list[int] | None = None
        self._stopping = self._interrupted = False
        self._in_source = False
        self.processed: int = self._words[_PROCESSED]
        self.busy_ns: int = self._words[_BUSY_NS]
        self._pace = Pace(self.processed)
        self._next_noted = self._pace.next
        self._busy_since_ns = 0
        host.ctx.emit = self._emit
        if spec.outputs:
            host.ctx.claim = claim_from(pool)

    def initialize(self) -> None:
        """Initialize the node; in the place of another worker, bring it to where that one was."""
        self._resolve(self.host.initialize())
        if self._journal_spec is not None:
            self._journal = self._open_journal(self._journal_spec)

    def listen(self, read_line: Callable[[], bytes], say: Callable[..., None]) -> None:
        """Obey what the engine says while the node runs (see `Orders`)."""
        self._orders = Orders(self._words, read_line, say)

    def cleanup(self) -> None:
        try:
            self._resolve(self.host.cleanup())
        finally:
            if self._portal is not None:
                self._portal.close()

    def stop(self) -> None:
        """Stop now, between two data; safe in a signal handler."""
        self._interrupted = True
        self.bell.interrupt()
        self.end_stream()

    def end_stream(self) -> None:
        """End a source's stream, as if it had no more to give; for another node nothing happens. Signal-safe.

        What a predecessor has published comes again before that.
        """
        self._stopping = True
        if self._in_source and self._is_over():
            self._in_source = False  # once: another signal must not strike where the source cleans up
            raise _StopProducing

    def run(self) -> None:
        """Work until the end.

        Raises:
            Interrupted: told to stop.
            PeerLost: a neighbour's process is gone.
            ServiceError: the node failed, or an edge did.
        """
        if not self._outlets.ended or (self._journal is not None and self._journal.unsettled):
            if self.host.is_source:
                self._produce()
                if self._interrupted:
                    raise Interrupted
            else:
                self._catch_up()
                self._consume()
            if self._journal is not None:
                self._journal.begin(FLUSH, 0)
            if not self._leaves_out(FLUSH, 0):
                self._give(self._call(self.host.flush))
            self._outlets.check_repeats()
            self._outlets.end()
        self._settle()

    def _open_journal(self, spec: JournalSpec) -> Journal:
        receivers, senders = [link.receiver for link in self._inputs], self._outlets.senders
        if spec.blobs is None:
            journal: Journal = StatelessJournal(self._page, receivers, senders, fresh=spec.fresh)
        else:
            journal = SnapshotJournal(self._page, receivers, senders, spec.blobs, self._take_snapshot, spec.every)
            state = journal.state
            if state is not None:
                self._resolve(self.host.restore(state))
        if spec.fresh and self.host.is_source:  # what it makes is new, unless there was to be no more
            self._stopping = self._stopping or journal.made is not None
        elif spec.succeeds:
            self._made_before = journal.made
            self._outlets.keep_back(journal.repeated)
        return journal

    def _take_snapshot(self) -> Any:
        try:
            return self._resolve(self.host.snapshot())
        except (Exception, SystemExit) as error:
            raise node_error(self.host.ctx.node_id, error) from error

    def _catch_up(self) -> None:
        """Do again what a predecessor had begun and not settled."""
        if self._journal is None:
            return
        for number, sequence in self._journal.steps():
            if number == FLUSH:
                return
            if number < END:
                link = self._inputs[number]
                self._handle_noted(self._journal, link, link.receiver.take_again(sequence))
            else:
                self._tell_of_end(number - END)
        self._outlets.check_repeats()

    def _handle_noted(self, journal: Journal, link: Input | MergedInput, record: Record) -> None:
        """Handle a record so that a successor could do it again."""
        sequence, nbytes = record.header[_SEQUENCE], len(record.payload)
        journal.begin(link.number, sequence)
        if self._leaves_out(link.number, sequence):
            if self._faults is not None:
                data, number, _ = link.codec.decode_call(record)
                error = NodeExecution(self.host.ctx.node_id, self._crashes)
                self._faults.take(error, data, link.port or self._port_name(number))
                del data
            del record
            journal.done(link.number, nbytes)
            journal.settle()
            return
        self._handle(link, record)
        del record
        journal.done(link.number, nbytes)

    def _consume(self) -> None:
        links, journal, orders, words = merged(self._inputs), self._journal, self._orders, self._words
        patience = Patience(links[0].spec.wait) if links else Patience()
        wants = None if any(link.port is None for link in links) else self.host.wants
        while links:
            worked = False
            for link in links:
                if wants is not None and not wants(link.port):  # type: ignore[arg-type]
                    continue
                try:
                    record = link.receiver.take()
                except EndOfChannel:
                    links = [other for other in links if other is not link]
                    self._see_end_of(link.port, links)
                    worked = True
                    continue
                except PeerLost:
                    raise
                except SharedMemoryError as error:
                    raise contract_error(error, link.spec.name) from error
                if record is not None:
                    if orders is not None and words[_ATTENTION] != orders.attention:
                        self._obey(orders, link.number)  # now, as it may be about what stands before this record
                    if journal is None:
                        self._handle(link, record)
                        del record  # its view must not outlive its acknowledgement by our doing
                        link.receiver.acknowledge()
                    else:
                        self._handle_noted(journal, link, record)
                        del record
                    worked = True
            if self._interrupted:
                raise Interrupted
            if not worked:
                if orders is not None and words[_ATTENTION] != orders.attention:
                    self._obey(orders)
                waiting = links if wants is None else [link for link in links if wants(link.port)]  # type: ignore[arg-type]
                if not waiting:
                    raise wants_nothing(self.host.ctx.node_id, [link.port or "" for link in links])
                self._wait([link.receiver for link in waiting], patience)

    def _obey(self, orders: Orders, in_hand: int | None = None) -> None:
        """Do what the engine has said, between two data. A successor begins where this is done.

        Args:
            orders: what it has said.
            in_hand: the input edge of the record that is to follow, if one was taken.
        """
        orders.look()
        if orders.is_interrupted:
            self._resolve(self._call(self.host.interrupt))
            self._settle(in_hand)
            orders.interrupt_heard()
        for order in orders.lines():
            try:
                self._resolve(self._call(self.host.configure, order["params"]))
            except NodeExecution as error:
                orders.refused(order, error)
                continue
            self.host.note(order["params"])
            self._settle(in_hand)
            orders.obeyed(order)

    def _settle(self, in_hand: int | None = None) -> None:
        if self._journal is not None:
            self._journal.settle(in_hand)

    def _see_end_of(self, port: str | None, links: Sequence[Input | MergedInput]) -> None:
        """Tell the node, if it wants to know, when the last edge into a port has ended."""
        if self.host.ended is not None and port is not None and all(link.port != port for link in links):
            self._tell_of_end(self.host.inputs.index(port))

    def _tell_of_end(self, number: int) -> None:
        ended, journal = self.host.ended, self._journal
        assert ended is not None
        if journal is None:
            self._give(self._call(ended, self.host.inputs[number]))
        elif not journal.has_ended(number):
            journal.begin(END + number, 0)
            if not self._leaves_out(END + number, 0):
                self._give(self._call(ended, self.host.inputs[number]))
            journal.done(END + number, 0)

    def _leaves_out(self, number: int, sequence: int) -> bool:
        """Whether a step is set aside; what a predecessor had published of it stays."""
        if not self._set_aside or (number, sequence) not in self._set_aside:
            return False
        self._outlets.forget_repeats()
        return True

    def _wait(self, receivers: Sequence[Waitable], patience: Patience) -> None:
        """Wait for inputs. While there are none, nothing stays unsettled: a writer may wait for an empty edge."""
        if self._journal is None or not self._journal.unsettled:
            wait_any(self.bell, receivers, patience)
            return
        wait_any(self.bell, receivers, patience, _SETTLE_S)
        if not any(receiver.ready() for receiver in receivers):
            self._journal.settle()

    def _produce(self) -> None:
        self._busy_since_ns = perf_counter_ns() - self.busy_ns
        try:
            self._in_source = True
            if not self._is_over():
                for data in self._results(self.host.produce()):
                    self._in_source = False
                    self._emit(self._main_port, data)
                    self._made()
                    if self._orders is not None and self._words[_ATTENTION] != self._orders.attention:
                        self._obey(self._orders)
                    self._in_source = True
                    if self._is_over():
                        break
        except _StopProducing:
            pass
        finally:
            self._in_source = False
            self._note_source()

    def _is_over(self) -> bool:
        """Whether a source is to make no more: told to stop, or where a predecessor had made all that it was to."""
        if self._made_before is not None and self._outlets.made() == self._made_before:
            return True
        return self._stopping and (self._interrupted or not self._outlets.repeats)

    def _made(self) -> None:
        """Of a source: one datum more."""
        self._words[_PROCESSED] = self.processed = self.processed + 1
        if self.processed >= self._next_noted:
            self._pace.weight(self.processed)
            self._next_noted = self._pace.next
            self._note_source()

    def _note_source(self) -> None:
        """How long a source has been at it, with its own waits, for its device say, and without those for room."""
        self._words[_BUSY_NS] = self.busy_ns = perf_counter_ns() - self._busy_since_ns - self.bell.waited_ns

    def _handle(self, link: Input | MergedInput, record: Record) -> None:
        data, number, params = link.codec.decode_call(record)
        port = link.port
        if port is None:
            port = self._port_name(number)
        processed = self._words[_PROCESSED] = self.processed = self.processed + 1
        before_ns = self._words[_SINCE_NS] = perf_counter_ns()
        before_ns -= self.bell.waited_ns
        if record.header[_KIND] == _CALL:
            self._answer(record.correlation, data, port, params)
        else:
            try:
                result = self._process(data, port)
                if isinstance(result, RuntimeData):  # by far the usual case
                    self._emit(self._main_port, result)
                else:
                    self._give(result)
            except EdgeFailed:
                raise
            except NodeExecution as error:
                if self._faults is None:
                    raise
                self._faults.take(error, data, port)
        took_ns = perf_counter_ns() - self.bell.waited_ns - before_ns
        self._words[_BUSY_NS] = self.busy_ns = self.busy_ns + took_ns
        if took_ns > LONG_NS or processed >= self._next_noted:
            self._note(took_ns, record)
        self._words[_SINCE_NS] = 0

    def _note(self, took_ns: int, record: Record) -> None:
        """Put a call into the histograms (see `histogram`: what it stands for, and why that is right)."""
        weight = 1
        if self.processed >= self._next_noted:
            weight = self._pace.weight(self.processed)
            self._next_noted = self._pace.next
        if took_ns > LONG_NS:
            weight = 1
        self._page.processing.add(took_ns, weight)
        self._page.queueing.add(max(0, self._words[_SINCE_NS] - record.header[_PUBLISHED_NS]), weight)

    def _process(self, data: RuntimeData, port: str, params: Mapping[str, Json] = _NONE) -> Any:
        try:
            return self.host.process(data, port, params)
        except (SharedMemoryError, ServiceError):
            raise
        except (Exception, SystemExit) as error:
            raise node_error(self.host.ctx.node_id, error) from error

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (SharedMemoryError, ServiceError):
            raise
        except (Exception, SystemExit) as error:
            raise node_error(self.host.ctx.node_id, error) from error

    def _port_name(self, number: int) -> str:
        inputs = self.host.inputs
        if number >= len(inputs):
            raise NodeExecution(self.host.ctx.node_id, f"has no input port number {number}: it has {list(inputs)}")
        return inputs[number]

    def _answer(self, correlation: int, data: RuntimeData, port: str, params: Mapping[str, Json]) -> None:
        """Run a call; whatever becomes of it, its caller gets exactly one record back, and this worker lives on."""
        output = self._outlets.all[0]
        try:
            answer = self._one_answer(data, port, params)
            output.sender.send(output.codec.encode(answer, kind=Kind.ANSWER, correlation=correlation))
        except (Interrupted, PeerLost):
            raise
        except Exception as error:
            known = contract_error(error, output.spec.name) if isinstance(error, SharedMemoryError) else error
            said = node_error(self.host.ctx.node_id, known)
            output.sender.send(self._error_message(output.codec, correlation, said))

    def _one_answer(self, data: RuntimeData, port: str, params: Mapping[str, Json]) -> RuntimeData:
        answers: list[RuntimeData] = []
        self._answers = answers
        try:
            result = self._process(data, port, params)
            if not answers and isinstance(result, RuntimeData):
                return result
            self._give(result)
        finally:
            self._answers = None
        return exactly_one(self.host.ctx.node_id, answers)

    @staticmethod
    def _error_message(codec: Codec, correlation: int, error: ServiceError) -> Any:
        said: dict[str, Json] = {"message": error.message, "type": type(error).__name__}
        if isinstance(error, NodeExecution):
            said |= {"kind": error.kind, "location": error.location, "details": error.details}
        return codec.encode(RuntimeData.json(said), kind=Kind.ERROR, correlation=correlation)

    def _give(self, result: Any) -> None:
        """Emit everything that a call gave."""
        if result is not None:
            results = self._results(result)
            for data in results:
                if self._orders is not None and self._orders.is_interrupted:
                    results.close()
                    return  # what it is made of is stale
                self._emit(self._main_port, data)

    def _results(self, result: Any) -> Generator[RuntimeData, None, None]:
        """Everything a call gives. Only what the node's own code raises is the node's error."""
        try:
            result = self._resolve(result)
            if inspect.isasyncgen(result):
                yield from self._drain_async(result)
            else:
                yield from outputs(result)
        except (SharedMemoryError, ServiceError):
            raise
        except (Exception, SystemExit) as error:
            raise node_error(self.host.ctx.node_id, error) from error

    def _drain_async(self, generator: Any) -> Iterator[RuntimeData]:
        portal = self._enter_portal()
        while True:
            try:
                item = portal.run(generator.__anext__)
            except StopAsyncIteration:
                return
            yield from outputs(item)

    def _resolve(self, result: Any) -> Any:
        if not inspect.isawaitable(result):
            return result

        async def wait() -> Any:
            return await result

        return self._enter_portal().run(wait)

    def _enter_portal(self) -> Portal:
        if self._portal is None:
            from penstock.executors.multiprocess.portal import Portal

            self._portal = Portal()
        return self._portal

    def _emit(self, port: str, data: RuntimeData) -> None:
        """Publish a datum on every edge of a port, waiting for room; during a call, keep it as the answer."""
        route = self._routes.get(port)
        if route is None:
            if not port:
                return  # a sink that returns something
            raise ValueError(f"there is no output port {port!r}; there is {', '.join(self.host.outputs) or 'none'}")
        if self._answers is not None:
            self._answers.append(data)
        elif self._in_source:
            self._in_source = False  # no signal strikes between two edges, or inside a ring
            try:
                self._outlets.publish(route, data)
                self._made()
            finally:
                self._in_source = True
            if self._is_over():
                raise _StopProducing
        else:
            self._outlets.publish(route, data)
