"""Two nodes: one that understands a line of text, and one that answers word by word, as a voice or a model would."""

from collections.abc import AsyncIterator

import trio

from penstock import RuntimeData


def understand(data: RuntimeData) -> RuntimeData:
    """What is asked for: `3 green bottles`, or a theme alone."""
    count, _, theme = data.as_text().strip().partition(" ")
    if not count.isdigit():
        count, theme = "1", data.as_text().strip()
    return RuntimeData.json({"count": int(count), "theme": theme or "bottles"}, session_id=data.session_id)


class Tell:
    """Sings about it, a word at a time, until it is done or interrupted."""

    def __init__(self, pause_s: float = 0.2) -> None:
        self.pause_s = pause_s

    async def process(self, data: RuntimeData) -> AsyncIterator[RuntimeData]:
        asked = data.as_json()
        if asked["count"] > 99:
            raise ValueError("nobody listens to more than 99 verses")
        for left in range(asked["count"], 0, -1):
            for word in f"{left} {asked['theme']} standing on the wall".split():
                await trio.sleep(self.pause_s)
                yield RuntimeData.text(word, session_id=data.session_id)

    def configure(self, *, pause_s: float) -> None:
        """Called by `run.configure("tell", pause_s=...)`, between two answers."""
        self.pause_s = pause_s
