"""Which state leads to which: flat arrays, which the garbage collector need not walk."""

from __future__ import annotations

from array import array


class Edges:
    """The edges of a graph whose nodes are numbered, given node by node in their order."""

    def __init__(self) -> None:
        self._children = array("I")
        self._ends = array("I", [0])

    def add(self, child: int) -> None:
        """From the node that is not closed yet."""
        self._children.append(child)

    def close(self) -> bool:
        """That was the node's last child; whether it has none."""
        self._ends.append(len(self._children))
        return self._ends[-1] == self._ends[-2]

    def on_a_cycle(self) -> int | None:
        """A node on a cycle, or behind one: what is left when nodes without a predecessor are taken away."""
        before = [0] * (len(self._ends) - 1)
        for node in self._children:
            before[node] += 1
        free = [node for node, count in enumerate(before) if not count]
        for node in free:  # grows while it is read
            for there in self._children[self._ends[node] : self._ends[node + 1]]:
                before[there] -= 1
                if not before[there]:
                    free.append(there)
        return next((node for node, count in enumerate(before) if count), None)
