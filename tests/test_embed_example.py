"""examples/embed: a service that runs one pipeline per connection, as its clients see it."""

import re
import signal
import socket
import subprocess
import sys

import pytest
from support import ROOT, environment, until

SERVE = ROOT / "examples" / "embed" / "serve.py"


class Client:
    """One connection, from a program that knows sockets alone."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("r")

    def say(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def hear(self, words):
        return " ".join(self.file.readline().strip() for _ in range(words))

    def finish(self):
        """Nothing more to say; everything that still comes."""
        self.socket.shutdown(socket.SHUT_WR)
        return self.file.read().split()

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def service(tmp_path):
    """The service on a port of its own; ended by Ctrl-C, without a traceback."""
    errors = open(tmp_path / "errors", "w+")
    process = subprocess.Popen(
        [sys.executable, SERVE, "0"], stdout=subprocess.PIPE, stderr=errors, env=environment(), text=True
    )
    try:
        said = process.stdout.readline()
        port = int(re.fullmatch(r"listening on port (\d+)\n", said)[1])
        clients = []

        def connect():
            clients.append(Client(port))
            clients[-1].say("pause 0")
            return clients[-1]

        connect.errors = lambda: (errors.flush(), errors.seek(0), errors.read())[2]
        yield connect
        for client in clients:
            client.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, connect.errors()
        assert "Traceback" not in connect.errors()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        errors.close()


def test_two_clients_are_told_their_own_stories(service):
    """Connections at the same time have a run each; a connection that is half closed gets the rest of its story."""
    first, second = service(), service()
    first.say("2 green bottles")
    second.say("cats")
    assert first.hear(7) == "2 green bottles standing on the wall"
    assert second.finish() == "1 cats standing on the wall".split()
    assert first.finish() == "1 green bottles standing on the wall".split()


def test_barge_in(service):
    """After `stop` nothing of the old story comes, however much of it was on its way, and the next one is told."""
    client = service()
    client.say("pause 0.05")
    client.say("99 bottles")
    assert client.hear(3) == "99 bottles standing"
    client.say("stop")
    client.say("pause 0")
    client.say("1 cat")
    told = " ".join(client.finish())
    assert told.endswith("1 cat standing on the wall")
    assert len(told.split()) < 99


def test_a_client_that_goes_away_or_says_nonsense_ends_nobody_elses_run(service):
    """A reset connection, a line without an end, and a datum that a node fails on: each is one session's affair."""
    steady, rude, endless = service(), service(), service()
    rude.say("99 bottles")
    rude.hear(1)
    rude.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes with a reset
    rude.close()
    endless.socket.sendall(b"x" * 5000)
    assert endless.file.read() == ""
    until(lambda: "a line of more than 1000 bytes" in service.errors(), "the service says what became of it")
    steady.say("100 bottles")
    steady.say("1 cat")
    assert steady.finish() == "1 cat standing on the wall".split()
    assert "nobody listens to more than 99 verses" in service.errors()


def test_who_does_not_listen_holds_up_himself_alone(service):
    """Backpressure reaches from a client's socket to its own node; another one is served meanwhile."""
    deaf, other = service(), service()
    for _ in range(200):
        deaf.say("99 bottles")
    other.say("1 cat")
    assert other.finish() == "1 cat standing on the wall".split()
