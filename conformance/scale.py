"""How much slower than an idle machine this one is now: bounds are stretched by it, verdicts are not."""

from __future__ import annotations

import queue
import threading
import time

__all__ = ["measure"]

_LONGEST = 20.0


def measure(samples: int = 60) -> tuple[float, float]:
    """The scale (1 to 20), and the p99 of how late a sleep of 1 ms and a hop to a thread come, in ms."""
    late: list[float] = []
    requests: queue.SimpleQueue[float | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[float] = queue.SimpleQueue()

    def hop() -> None:
        while (sent := requests.get()) is not None:
            answers.put(time.perf_counter() - sent)

    thread = threading.Thread(target=hop, name="conformance scale", daemon=True)
    thread.start()
    for _ in range(samples):
        start = time.perf_counter()
        time.sleep(0.001)
        late.append(time.perf_counter() - start - 0.001)
        requests.put(time.perf_counter())
        late.append(answers.get())
    requests.put(None)
    thread.join()
    p99_ms = sorted(late)[int(len(late) * 0.99) - 1] * 1000
    return min(_LONGEST, max(1.0, p99_ms)), p99_ms
