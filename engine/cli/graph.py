"""A pipeline as Mermaid text, for READMEs and pull requests."""

from __future__ import annotations

from penstock.engine.plan import Plan, PlannedEdge

__all__ = ["mermaid"]

_SHAPES = {"native": ("[", "]"), "multiprocess": ("[[", "]]"), "wasm": ("{{", "}}")}


def mermaid(plan: Plan) -> str:
    """A flowchart: native nodes are boxes, workers have double walls, wasm nodes are hexagons."""
    lines = ["flowchart LR"]
    for node in plan.nodes:
        opening, closing = _SHAPES[node.executor.value.lower()]
        label = f"{node.node_id}<br/><small>{_escaped(node.type_name)}</small>"
        lines.append(f'    {_name(node.node_id)}{opening}"{label}"{closing}')
    lines += [f"    {_name(edge.source.node_id)} {_arrow(edge)} {_name(edge.target.node_id)}" for edge in plan.edges]
    return "\n".join(lines)


def _arrow(edge: PlannedEdge) -> str:
    """Thick where it crosses a process border, dotted where it leads back; with the ports where a node has several."""
    line = "-.->" if edge.decl.feedback else "==>" if edge.shared else "-->"
    several = len(edge.source.outputs) > 1 or len(edge.target.inputs) > 1
    text = [f"{edge.source_port} to {edge.target_port}"] if several else []
    text += ["feedback"] if edge.decl.feedback else []
    return f'{line}|"{", ".join(text)}"|' if text else line


def _name(node_id: str) -> str:
    return f"n_{node_id}".replace("-", "_")  # `end` and other words of Mermaid's own are legal names of nodes


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "&lt;")
