"""A node's worker through all of its lives: when its process dies, another one goes on in its place."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter_ns

import trio

from penstock.executors.contract import Json, NodeExecution, ServiceError
from penstock.executors.multiprocess.delivery import Delivery, DeliveryMode
from penstock.executors.multiprocess.journal import END, FLUSH, Step, last_begun
from penstock.executors.multiprocess.launch import Launch
from penstock.executors.multiprocess.messages import JournalSpec
from penstock.executors.multiprocess.page import Page, PageWord
from penstock.executors.multiprocess.supervisor import Counters, Gone, Supervisor

__all__ = ["Lives", "Worker"]

_log = logging.getLogger("penstock")
_RESTARTS = 1000


@dataclass(slots=True)
class Lives:
    """What the deaths of a worker have meant.

    Attributes:
        restarts: processes that took the place of another one.
        redelivered: data that were in the hands of a process that died, and were given to the node again.
        state_lost: inputs that the node had been given and knows nothing of any more (`restart_fresh`).
        restarted_ns: when those processes were started (`perf_counter_ns`); of the newest thousand.
    """

    restarts: int = 0
    redelivered: int = 0
    state_lost: int = 0
    restarted_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_RESTARTS))


@dataclass(frozen=True, slots=True)
class _InHand:
    """What a process had begun when it died.

    Attributes:
        step: which datum, or end.
        published: whether outputs of it were.
    """

    step: Step
    published: bool

    @property
    def is_datum(self) -> bool:
        return self.step.number < END


class Worker:
    """One node's worker, to be driven like a `Supervisor`, which it has one of at a time.

    Attributes:
        lives: what became of it.
    """

    def __init__(self, launch: Launch, delivery: Delivery) -> None:
        """Prepare the first process.

        Raises:
            AllocationFailed: there is no room for its page.
        """
        self._launch = launch
        self._delivery = delivery
        self._goes_on = delivery.mode is not DeliveryMode.FAIL
        self._blobs: tuple[int, int] | None = None
        if delivery.snapshots and delivery.mode is DeliveryMode.REPLAY:
            self._blobs = (_new_file(), _new_file())
        self._set_aside: list[Step] = []
        self._deaths: Counter[Step] = Counter()
        self._restarted_at: deque[float] = deque()
        self._idle_deaths = 0
        self._progress = 0
        self._taken_before = 0
        self._ending = self._timed_out = False
        self._crashes = ""
        self._stopping = trio.Event()
        self._gone = trio.Event()
        self._changed = trio.Event()
        self._failure: ServiceError | None = None
        self.lives: Lives = Lives()
        self._now = self._process(succeeds=False)

    @property
    def node_id(self) -> str:
        return self._now.node_id

    @property
    def pid(self) -> int:
        return self._now.pid

    @property
    def each(self) -> Sequence[Worker]:
        """Itself alone: it is no replica."""
        return (self,)

    @property
    def counters(self) -> Counters:
        """What its last process said at its end."""
        return self._now.counters

    @property
    def failure(self) -> ServiceError | None:
        """Why it failed, if it did for good."""
        return self._failure

    @property
    def page(self) -> Page:
        """What it is at."""
        assert self._launch.party.page is not None
        return self._launch.party.page

    @property
    def workers(self) -> tuple[Worker]:
        """Itself: it has no replicas."""
        return (self,)

    async def run(self) -> None:
        """Start the process, and others in its place, until one is done or no other may follow. Never raises."""
        try:
            await self._now.run()
            while await self._continues():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._begin_again, self._now)
                    await self._now.run()
                    nursery.cancel_scope.cancel()
        finally:
            if self._failure is None:
                self._failure = self._now.failure
            if self._goes_on:
                self._launch.wiring.lost(self._launch.party)
            for file in self._blobs or ():
                os.close(file)
            self._gone.set()
            self._changed.set()
            self._launch.wiring.bell.ring()

    async def wait_ready(self) -> None:
        """Wait until the node is initialized for the first time (see `Supervisor.wait_ready`)."""
        await self._now.wait_ready()

    async def start(self) -> None:
        """Let the node take its inputs."""
        await self._now.start()

    async def wait_gone(self) -> None:
        await self._gone.wait()

    def end_stream(self) -> None:
        """Ask a source to end its stream here (see `Supervisor.end_stream`)."""
        self._ending = True
        if self._now.was_ready:  # else it hears of it later, and SIGINT might end it before it heeds signals
            self._now.end_stream()

    async def stop(self, grace_s: float | None = None) -> None:
        """SIGTERM, the grace period, SIGKILL; nobody follows. Returns when the worker is gone."""
        self._stopping.set()
        await self._now.stop(grace_s)
        with trio.CancelScope(shield=True):
            await self._gone.wait()

    async def configure(self, params: Mapping[str, Json]) -> None:
        """Give the node other parameters, between two data; those that follow have them, too.

        Raises:
            NodeExecution: its `configure` failed, or there is no process any more.
        """
        while True:
            now = self._now
            try:
                error = await now.ask(params=dict(params))
                break
            except Gone:  # whoever takes its place first does again what it had begun, with the parameters of then
                while self._now is now and not self._gone.is_set():
                    await self._changed.wait()
                if self._gone.is_set():
                    raise NodeExecution(self.node_id, "its process has ended") from None
        if error is not None:
            raise error
        before = self._launch.node
        self._launch.node = replace(before, params={**before.params, **params})

    def interrupt(self) -> None:
        """What the node has in hand, and what it holds back, is stale: let it know before its next datum."""
        words = self.page.words
        words[PageWord.INTERRUPTS] += 1
        words[PageWord.ATTENTION] += 1
        self._launch.party.bell.ring()

    @property
    def errors(self) -> int:
        """Data that the node failed on, which did not fail the run."""
        return int(self.page.words[PageWord.SET_ASIDE])

    async def watch_timeout(self, timeout_s: float) -> None:
        """End a process that has one datum in hand for longer than this, waits for room apart. Never returns."""
        words, links = self.page.words, self._launch.party.links_out
        timeout_ns = int(timeout_s * 1e9)
        while True:
            since_ns = words[PageWord.SINCE_NS]
            left_ns = since_ns + timeout_ns - perf_counter_ns() if since_ns else timeout_ns
            await trio.sleep(max(left_ns, 1_000_000) / 1e9)
            if since_ns and since_ns == words[PageWord.SINCE_NS] and perf_counter_ns() >= since_ns + timeout_ns:
                if any(link.statistics().writer_waiting for link in links):
                    await trio.sleep(timeout_s)
                elif self._now.alive:
                    self._timed_out = True
                    self._now.kill_for(f"took longer than its timeout of {timeout_s:g} s for one datum")
                    await trio.sleep(timeout_s)

    # From one life to the next

    def _process(self, *, succeeds: bool) -> Supervisor:
        if not self._goes_on:
            return self._launch.supervisor()
        delivery = self._delivery
        fresh = delivery.mode is DeliveryMode.RESTART_FRESH
        aside = tuple(self._set_aside)
        spec = JournalSpec(self._blobs, delivery.snapshot_every, succeeds, fresh, aside, self._crashes)
        return self._launch.supervisor(spec, announce=False)

    async def _begin_again(self, supervisor: Supervisor) -> None:
        try:
            await supervisor.wait_ready()
        except NodeExecution:
            return  # its run ends, and says so
        await supervisor.start()
        if self._ending:
            supervisor.end_stream()

    async def _continues(self) -> bool:
        """Whether another process takes the place of the one that is gone; it is made, when its time has come."""
        gone = self._now
        crashed = gone.crashed or gone.counters.why == "interrupted"
        began = gone.was_ready or self.lives.restarts  # else the node does not even start
        if not self._goes_on or not crashed or self._stopping.is_set() or not began:
            return False
        said = f"its process (pid {gone.pid}) was told to end" if gone.failure is None else gone.failure.message
        self._failure = self._judge(said, gone.failure)
        if self._failure is not None:
            return False
        self._launch.wiring.wake_neighbours(self._launch.party)
        with trio.move_on_after(self._backoff_s()):
            await self._stopping.wait()
        if self._stopping.is_set():
            return False
        self.lives.restarts += 1
        self.lives.restarted_ns.append(perf_counter_ns())
        _log.warning("node %r: %s; restarted (%d)", self.node_id, said, self.lives.restarts)
        self._now = self._process(succeeds=True)
        self._changed.set()
        self._changed = trio.Event()
        return True

    def _judge(self, said: str, failure: ServiceError | None) -> NodeExecution | None:
        """Why there is to be no other process; None where there is one."""
        details = failure.details if isinstance(failure, NodeExecution) else ""
        in_hand = self._in_hand() if self._now.was_ready else None  # else it had not come to what is noted
        text = self._judge_datum(said, in_hand) if in_hand is not None else None
        text = text or self._judge_frequency(said)
        if text is not None:
            return NodeExecution(self.node_id, text, details=details)
        if self._delivery.mode is DeliveryMode.RESTART_FRESH:
            self._count_lost_state()
            if in_hand is not None and in_hand.published and (in_hand.is_datum or in_hand.step.number == FLUSH):
                self._put_aside(in_hand, said)
                self.lives.state_lost += in_hand.is_datum
                self._taken_before += in_hand.is_datum
        return None

    def _judge_datum(self, said: str, in_hand: _InHand) -> str | None:
        if self._timed_out:
            self._timed_out = False
            if self._delivery.sets_aside and in_hand.is_datum:
                self._put_aside(in_hand, said)
                return None
            return said
        self._deaths[in_hand.step] += 1
        most = self._delivery.max_redeliveries
        if most is None or self._deaths[in_hand.step] <= most:
            self.lives.redelivered += 1
            return None
        if self._delivery.sets_aside and in_hand.is_datum:
            self._put_aside(in_hand, said)
            return None
        number, sequence = in_hand.step
        edges = self._launch.party.links_in
        what = f"datum {sequence} of edge {edges[number].name}" if in_hand.is_datum else "the end of its inputs"
        return (
            f"{said}, as the {most} before it, with {what} in hand; `on_error: skip` or `dead_letter` sets such a "
            "datum aside, `max_redeliveries` is how often it is given to the node again"
        )

    def _judge_frequency(self, said: str) -> str | None:
        restarts, now = self._delivery.restarts, trio.current_time()
        while self._restarted_at and self._restarted_at[0] < now - restarts.window_s:
            self._restarted_at.popleft()
        if restarts.max is not None and len(self._restarted_at) >= restarts.max:
            count = len(self._restarted_at)
            return f"{said}, after {count} restarts within {restarts.window_s:g} s: no more (see `restart`)"
        self._restarted_at.append(now)
        return None

    def _backoff_s(self) -> float:
        """None after progress, then doubled for each death without."""
        before, self._progress = self._progress, self._done()
        self._idle_deaths = 0 if self._progress != before else self._idle_deaths + 1
        if not self._idle_deaths:
            return 0.0
        restarts = self._delivery.restarts
        longest = min(restarts.max_backoff_s, restarts.backoff_s * 2.0 ** min(self._idle_deaths - 1, 30))
        return longest * random.uniform(0.75, 1.0)  # noqa: S311  that they do not all come back at once

    def _done(self) -> int:
        """Grows with whatever the node gets done."""
        party = self._launch.party
        received = sum(link.statistics().received for link in party.links_in)
        return received + sum(link.statistics().sent for link in party.links_out)

    def _in_hand(self) -> _InHand | None:
        party, page = self._launch.party, self.page
        step = last_begun(page.words)
        if step is None:
            return None
        if step.number < END and (
            step.number >= len(party.links_in) or party.links_in[step.number].ring.acknowledged > step.sequence
        ):
            return None
        bases = page.words[page.in_hand_bases : page.in_hand_bases + len(party.links_out)]
        published = any(link.statistics().sent != base for link, base in zip(party.links_out, bases, strict=True))
        return _InHand(step, published)

    def _put_aside(self, in_hand: _InHand, said: str) -> None:
        self._crashes = said
        if in_hand.step not in self._set_aside:
            self._set_aside.append(in_hand.step)

    def _count_lost_state(self) -> None:
        taken = sum(link.statistics().received for link in self._launch.party.links_in)
        self.lives.state_lost += taken - self._taken_before
        self._taken_before = taken


def _new_file() -> int:
    """A file for snapshots that is gone when nobody has it open any more."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("penstock-snapshot")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
