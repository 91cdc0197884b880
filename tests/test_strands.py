"""One edge in several rings: dealt out in turn, and put in order again, whoever comes late, gives nothing, or ends."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from edges import message, number_of, open_edge
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.shm.blocking import Receiver, Sender
from penstock.shm.errors import EndOfChannel, PeerLost
from penstock.shm.merging import Merger
from penstock.shm.ring import Word
from penstock.shm.splitting import Splitter


class Team:
    """Writers with an input ring each, fed in turn, and a reader of all; every step is the test's."""

    def __init__(self, stack: ExitStack, width: int) -> None:
        self.inputs = [stack.enter_context(open_edge(capacity=16)) for _ in range(width)]
        self.outputs = [stack.enter_context(open_edge(capacity=64, kinds=(Sender, Receiver))) for _ in range(width)]
        self.splitter = Splitter([edge.sender for edge in self.inputs])
        self.merger = self.another_merger()

    def another_merger(self) -> Merger:
        """The reader, or one that goes on in its place."""
        receivers = [edge.another_receiver() for edge in self.outputs]
        self.merger = Merger(receivers, [edge.ring for edge in self.inputs])
        return self.merger

    def work(self, number: int, count: int) -> None:
        """A writer makes so many outputs of its next input, which all say that one's number."""
        receiver = self.inputs[number].receiver
        name = number_of(receiver.receive_nowait())
        for _ in range(count):
            out = message(name)
            out.input_sequence = receiver.ring.acknowledged
            self.outputs[number].sender.send_nowait(out)
        receiver.acknowledge()

    def end(self, number: int) -> None:
        self.outputs[number].sender.end()

    def read(self) -> list[int]:
        """Everything that there is for the reader."""
        seen = []
        while (record := self.merger.take()) is not None:
            seen.append(number_of(record))
            self.merger.acknowledge()
        return seen


@pytest.fixture
def team():
    with ExitStack() as stack:
        yield Team(stack, 3)


def feed(team, count):
    for number in range(count):
        team.splitter.send_nowait(message(number))


def test_what_is_late_holds_up_what_comes_behind_it(team):
    """The second and third wait for the first, and for nothing else."""
    feed(team, 6)
    team.work(1, 2)
    team.work(2, 1)
    team.work(1, 1)
    assert team.read() == []
    assert not team.merger.ready()
    team.work(0, 1)
    assert team.merger.ready()
    assert team.read() == [0, 1, 1, 2]
    team.work(0, 0)
    assert team.read() == [4]


def test_the_reader_is_told_of_an_input_that_nothing_came_of(team):
    """It asks to be rung by who has the turn, and sees the acknowledgement without a record."""
    feed(team, 3)
    assert team.read() == []
    assert not team.merger.arm()
    waiting = [edge.ring.words[Word.READER_WAITING] for edge in team.outputs]
    assert waiting == [1, 0, 0]
    team.work(0, 0)
    assert team.merger.arm()
    team.merger.disarm()
    assert not any(edge.ring.words[Word.READER_WAITING] for edge in team.outputs)
    team.work(1, 1)
    assert team.read() == [1]


def test_an_end_between_two_looks_is_no_end_of_everything(team):
    """The reader has seen that a writer is not done; then it is, and ends: what the others have is still to come."""
    feed(team, 2)
    team.work(1, 1)
    ring = team.merger.receivers[0].ring
    peek = ring.peek

    def peek_late():
        if team.inputs[0].receiver.ring.acknowledged == 0:
            team.work(0, 0)
            for number in range(3):
                team.end(number)
        return peek()

    ring.peek = peek_late
    record = team.merger.take()
    assert record is not None
    assert number_of(record) == 1
    team.merger.acknowledge()
    with pytest.raises(EndOfChannel):
        team.merger.take()


def test_what_writers_say_at_their_end_comes_behind_everything(team):
    """Such a record says a cause that there is none of."""
    feed(team, 2)
    for number in (1, 0):
        team.work(number, 1)
    for number in (2, 0, 1):
        last = message(100 + number)
        last.input_sequence = team.inputs[number].receiver.ring.acknowledged
        team.outputs[number].sender.send_nowait(last)
        team.end(number)
    seen = []
    with pytest.raises(EndOfChannel):
        while True:
            seen.append(number_of(team.merger.take()))
            team.merger.acknowledge()
    assert seen[:2] == [0, 1]
    assert sorted(seen[2:]) == [100, 101, 102]


def test_a_writer_that_is_gone_is_told_in_its_turn(team):
    """What came before it is read."""
    feed(team, 2)
    team.work(0, 1)
    team.outputs[1].ring.writer_lost()
    record = team.merger.take()
    assert record is not None
    assert number_of(record) == 0
    with pytest.raises(PeerLost):
        team.merger.take()


def test_a_successor_of_the_reader_finds_its_place_at_once(team):
    """From the words and the records alone, also in the middle of what came of one input."""
    seen = []
    for number in range(300):
        team.splitter.send_nowait(message(number))
        team.work(number % 3, 1)
        seen += team.read()
    assert seen == list(range(300))
    for number in range(300, 306):
        team.splitter.send_nowait(message(number))
    team.work(0, 2)
    team.work(2, 1)
    assert number_of(team.merger.take()) == 300
    team.merger.acknowledge()
    again = team.another_merger()
    again._find_place()
    assert (again._cause, again._turn) == (100, 0)
    assert number_of(again.take()) == 300
    again.acknowledge()
    assert again.take() is None
    team.work(1, 1)
    assert team.read() == [301, 302]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), width=st.integers(2, 4), count=st.integers(0, 12))
def test_the_order_is_that_of_the_inputs(data, width, count):
    """However the writers and the reader interleave, whoever of them is replaced, and whatever comes of each input."""
    outputs = [data.draw(st.integers(0, 3)) for _ in range(count)]
    with ExitStack() as stack:
        team = Team(stack, width)
        left = [list(range(number, count, width)) for number in range(width)]
        feed(team, count)
        seen: list[int] = []
        while any(left):
            number = data.draw(st.sampled_from([n for n in range(width) if left[n]]))
            team.work(number, outputs[left[number].pop(0)])
            if data.draw(st.booleans()):
                seen += team.read()
            if data.draw(st.integers(0, 4)) == 0:
                team.another_merger()
        for number in range(width):
            team.end(number)
        with pytest.raises(EndOfChannel):
            while True:
                seen += [number_of(team.merger.take())]
                team.merger.acknowledge()
        assert seen == [number for number in range(count) for _ in range(outputs[number])]


@pytest.mark.parametrize("written", range(7))
def test_a_successor_of_the_writer_goes_on_in_turn(written):
    """The counts say whose turn it is, and whose it was some messages ago."""
    with ExitStack() as stack:
        edges = [stack.enter_context(open_edge(capacity=4)) for _ in range(3)]
        splitter = Splitter([edge.sender for edge in edges])
        for number in range(written):
            splitter.send_nowait(message(number))
        again = Splitter([edge.another_sender() for edge in edges])
        assert again.next is again.senders[written % 3]
        again.go_back(written)
        assert again.next is again.senders[0]
