"""Node types that another interpreter runs: this one can not import them, so that one is asked what they are."""

from __future__ import annotations

import inspect
import json
import subprocess
import tempfile
from collections.abc import Mapping
from typing import Any

from penstock.engine.values import plain
from penstock.executors.contract import Json, Validation
from penstock.executors.multiprocess.describe import annotation_of
from penstock.executors.multiprocess.surroundings import Surroundings

__all__ = ["ForeignType"]


class ForeignType:
    """Stands for a node type where its ports, parameters and `check` are looked at. It can not be built here."""

    def __init__(self, name: str, types: Mapping[str, str], surroundings: Surroundings, timeout_s: float) -> None:
        """Ask an interpreter for a type.

        Args:
            name: of the type, as the graph says it.
            types: short names.
            surroundings: its interpreter, environment and working directory.
            timeout_s: how long the import may take.

        Raises:
            Validation: there is no such type there, or something is wrong with the interpreter.
        """
        self.__name__ = name
        self._request: dict[str, Json] = {
            "type": name,
            "types": dict(types),
            "search_path": list(surroundings.search_path()),
        }
        self._surroundings = surroundings
        self._timeout_s = timeout_s
        said = self._ask()
        self.__doc__ = said["doc"]
        self.inputs: Mapping[str, str] = said["inputs"]
        self.outputs: Mapping[str, str] = said["outputs"]
        self.stateless: bool = said["stateless"]
        self.is_function: bool = said["is_function"]
        self.__signature__ = inspect.Signature(_parameters(said))
        for method, has in (("produce", said["is_source"]), ("process", said["works"] and not said["is_source"])):
            if has:
                setattr(self, method, self._elsewhere)
        if said["snapshots"]:
            self.snapshot = self.restore = self._elsewhere
        if said["depends_on_params"]:
            self.ports = self._ports
            self._asked: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {}

    def __call__(self, **params: Any) -> ForeignType:
        """What `check` is called of: `ports` has asked it already."""
        del params
        return self

    def _ports(self, **params: Any) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """The ports for these parameters, which `check` is content with, too."""
        said = self._ask({name: plain(value) for name, value in params.items()})
        return said["inputs"], said["outputs"]

    def _elsewhere(self, *arguments: Any) -> Any:
        del arguments
        raise Validation(f"{self.__name__} runs in {self._surroundings.python}, not here")

    def _ask(self, params: Mapping[str, Json] | None = None) -> dict[str, Any]:
        around = self._surroundings
        request = self._request if params is None else {**self._request, "params": params}
        with tempfile.TemporaryFile() as result:
            try:
                done = subprocess.run(
                    around.describer(str(result.fileno())),
                    input=json.dumps(request).encode(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=[result.fileno()],
                    env=around.environment(),
                    cwd=around.cwd,
                    timeout=self._timeout_s,
                    check=False,
                )
            except OSError as error:
                raise Validation(f"interpreter {around.python} can not be started: {error.strerror}") from None
            except subprocess.TimeoutExpired:
                text = f"interpreter {around.python} did not import {self.__name__} within {self._timeout_s:g} s"
                raise Validation(f"{text}; give it more with init_timeout") from None
            result.seek(0)
            answer = result.read()
        if not answer:
            last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {done.returncode}"
            raise Validation(f"interpreter {around.python} could not say what {self.__name__} is: {last}")
        said: dict[str, Any] = json.loads(answer)
        if "misfit" in said:
            raise Validation(f"interpreter {around.python} {said['misfit']}")
        if "error" in said:
            raise Validation(f"in interpreter {around.python}: {said['error']}" if params is None else said["error"])
        return said


def _parameters(said: Mapping[str, Any]) -> list[inspect.Parameter]:
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    found = [
        inspect.Parameter(
            one["name"],
            kind,
            default=one.get("default", empty),
            annotation=annotation_of(one["annotation"]) if "annotation" in one else empty,
        )
        for one in said["parameters"]
    ]
    found.sort(key=lambda parameter: parameter.default is not empty)
    if said["takes_any"]:
        found.append(inspect.Parameter("_others", inspect.Parameter.VAR_KEYWORD))
    return found
