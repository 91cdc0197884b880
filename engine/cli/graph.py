"""A pipeline as Mermaid text, for READMEs and pull requests."""

from __future__ import annotations

from penstock.engine.plan import Plan, PlannedEdge, PlannedNode, PlannedPort

__all__ = ["mermaid"]

_SHAPES = {"native": ("[", "]"), "multiprocess": ("[[", "]]"), "wasm": ("{{", "}}")}


def mermaid(plan: Plan) -> str:
    """A flowchart: native nodes are boxes, workers have double walls, wasm nodes are hexagons, external ends round."""
    lines = ["flowchart LR"]
    for node in plan.nodes:
        opening, closing = _SHAPES[node.executor.value.lower()]
        label = f"{node.node_id}<br/><small>{_escaped(node.type_name)}</small>"
        lines.append(f'    {_name(node)}{opening}"{label}"{closing}')
    lines += [f'    {_name(port)}(["{port.name}"])' for port in (*plan.inputs.values(), *plan.outputs.values())]
    lines += [f"    {_name(edge.source)} {_arrow(edge)} {_name(edge.target)}" for edge in plan.edges]
    return "\n".join(lines)


def _arrow(edge: PlannedEdge) -> str:
    """Thick where it crosses a process border, dotted where it leads back; with the ports where a node has several."""
    line = "-.->" if edge.decl.feedback else "==>" if edge.shared else "-->"
    several = (isinstance(edge.source, PlannedNode) and len(edge.source.outputs) > 1) or (
        isinstance(edge.target, PlannedNode) and len(edge.target.inputs) > 1
    )
    text = [" to ".join(filter(None, (edge.source_port, edge.target_port)))] if several else []
    text += ["feedback"] if edge.decl.feedback else []
    return f'{line}|"{", ".join(text)}"|' if text else line


def _name(end: PlannedNode | PlannedPort) -> str:
    """`end` and other words of Mermaid's own are legal names of nodes."""
    if isinstance(end, PlannedNode):
        return f"n_{end.node_id}".replace("-", "_").replace("/", "__")
    inwards = any(edge.source is end for edge in end.edges)
    return f"{'i' if inwards else 'o'}_{end.name}".replace("-", "_")


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;").replace("<", "&lt;")
