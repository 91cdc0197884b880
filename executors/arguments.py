"""What callers pass to a bridge, looked at before anything is done with it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from penstock.executors.contract import Json, RuntimeData, Validation

__all__ = ["check_call", "check_node", "check_sendable"]


def check_node(node_id: object, node_type: object, params: object) -> None:
    """See that a node can be asked for like this.

    Raises:
        Validation: the id is no non-empty string, the type is no string, or the parameters are no mapping.
    """
    if not isinstance(node_id, str) or not node_id:
        raise Validation(f"a node's id is a string that is not empty, not {node_id!r}")
    if not isinstance(node_type, str):
        raise Validation(f"Unknown node type: {node_type!r}")
    if not isinstance(params, Mapping):
        raise Validation(f"parameters of node {node_id!r} are a mapping from names to values, not {params!r}")


def check_call(node_id: str, data: object, params: object) -> None:
    """See that a node can be called like this.

    Raises:
        Validation: the datum is no `RuntimeData`, or the parameters are no mapping.
    """
    if not isinstance(data, RuntimeData):
        raise Validation(f"node {node_id!r} takes RuntimeData, not {type(data).__name__}")
    if type(params) is not dict and not isinstance(params, Mapping):  # the second is slow, and hardly ever needed
        raise Validation(f"parameters of a call of node {node_id!r} are a mapping, not {params!r}")


def check_sendable(node_id: str, params: Mapping[str, Json]) -> None:
    """See that parameters can cross to a worker.

    Raises:
        Validation: JSON can not say them.
    """
    try:
        json.dumps(params)
    except (TypeError, ValueError, RecursionError) as error:
        raise Validation(f"parameters of node {node_id!r} can not cross to its worker: {error}") from None
