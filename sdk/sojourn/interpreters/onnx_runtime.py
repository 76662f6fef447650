"""ONNX Runtime, in this process, behind the interpreter's contract.

Rules of this module:

* A session is made only of bytes that `check_plan` judged, from memory, without a custom-operator library, without
  reading configuration or data from anywhere else.
* Sessions run reproducibly: deterministic kernels, sequential execution, a fixed number of threads that do not spin.
* The runtime is quiet: what it has to say comes back as an error, never on stderr.
* Safe to call from several threads; one plan's sessions are shared by all that loaded it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as binding_module

from sojourn.contracts import Plan
from sojourn.errors import ConfigError, GraphFailed, GraphRefused
from sojourn.interpreters.binding import Binding
from sojourn.interpreters.contract import Feed, PlanHandle, Result, Runtime
from sojourn.interpreters.devices import Provider, Request, providers_for
from sojourn.interpreters.manifest import CheckedPlan, check_plan

__all__ = ["MAX_THREADS", "OnnxInterpreter"]

MAX_THREADS: Final = 256
_FATAL_ONLY: Final = 4

# What ONNX Runtime raises. They share no base class of their own, so they are collected.
_RUNTIME_ERRORS: Final[tuple[type[Exception], ...]] = (
    MemoryError,
    *(
        kind
        for name in dir(binding_module)
        if isinstance(kind := getattr(binding_module, name), type) and issubclass(kind, Exception)
    ),
)


@dataclass(slots=True)
class _Loaded:
    """One plan's sessions; `users` counts the loads that were not undone."""

    handle: PlanHandle
    graphs: dict[str, tuple[Binding, onnxruntime.InferenceSession]]
    users: int


class OnnxInterpreter:
    """Runs the graphs of admitted plans on ONNX Runtime; implements `Interpreter`.

    Args:
        provider: `"auto"` takes CUDA where there is a device, `"cpu"` and `"cuda"` insist.
        threads: threads within one operator, 1 or more. One is right for the small graphs of an edge device.

    Raises:
        ConfigError: CUDA was insisted on and there is none, or `threads` is out of range.
    """

    def __init__(self, provider: Request = "auto", threads: int = 1) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise ConfigError(f"threads is {threads}; choose 1 to {MAX_THREADS}")
        self._providers, note = providers_for(provider)
        self._asked: Provider = "cuda" if len(self._providers) > 1 else "cpu"
        self._insist = provider == "cuda"
        self._threads = threads
        self._loaded: dict[bytes, _Loaded] = {}
        self._lock = threading.Lock()
        self._runtime = Runtime("onnxruntime", onnxruntime.__version__, self._asked, threads, note)
        onnxruntime.set_default_logger_severity(_FATAL_ONLY)

    def __repr__(self) -> str:
        return f"OnnxInterpreter({self._runtime.provider}, {len(self._loaded)} plans)"

    @property
    def runtime(self) -> Runtime:
        """What runs the graphs; `provider` is corrected when a session does not get the one asked for."""
        return self._runtime

    def load(self, plan: Plan, graphs: Mapping[str, bytes]) -> PlanHandle:
        """Judge and load a plan; see `Interpreter.load`."""
        checked = check_plan(plan, graphs)
        with self._lock:
            loaded = self._loaded.get(checked.digest)
            if loaded is None:
                loaded = self._open(checked, graphs)
                self._loaded[checked.digest] = loaded
            loaded.users += 1
            return loaded.handle

    def run(self, plan: PlanHandle, graph: str, inputs: Mapping[str, Feed]) -> dict[str, Result]:
        """Run one graph; see `Interpreter.run`."""
        with self._lock:
            loaded = self._loaded.get(plan.digest)
        if loaded is None:
            raise GraphFailed(f"plan {plan.name!r} is not loaded here; load it before running its graphs")
        if graph not in loaded.graphs:
            raise GraphFailed(f"plan {plan.name!r} has no graph {graph!r}; it has {sorted(loaded.graphs)}")
        binding, session = loaded.graphs[graph]
        feeds, rows = binding.feed(inputs)
        try:
            values: list[Any] = session.run(list(binding.outputs), feeds)
        except _RUNTIME_ERRORS as problem:
            kind = type(problem).__name__
            raise GraphFailed(f"graph {graph!r} failed inside ONNX Runtime ({kind})", str(problem)) from None
        return binding.collect(values, rows)

    def unload(self, plan: PlanHandle) -> None:
        """Undo one `load`; see `Interpreter.unload`."""
        with self._lock:
            loaded = self._loaded.get(plan.digest)
            if loaded is None:
                return
            loaded.users -= 1
            if loaded.users == 0:
                del self._loaded[plan.digest]

    def close(self) -> None:
        """Free every session."""
        with self._lock:
            self._loaded.clear()

    def _open(self, checked: CheckedPlan, graphs: Mapping[str, bytes]) -> _Loaded:
        plan = checked.plan
        opened: dict[str, tuple[Binding, onnxruntime.InferenceSession]] = {}
        for graph in plan.graphs:
            try:
                session = onnxruntime.InferenceSession(
                    graphs[graph.name], sess_options=self._options(), providers=self._providers
                )
            except _RUNTIME_ERRORS as problem:
                raise GraphRefused(
                    f"plan {plan.name!r}, graph {graph.name!r}: ONNX Runtime {self._runtime.version} does not load it: "
                    f"{problem}"
                ) from None
            names = checked.constants[graph.name]
            constants = {name: np.asarray(plan.constants[name], dtype=np.float32) for name in names}
            opened[graph.name] = (Binding(plan, graph, constants), session)
        handle = PlanHandle(checked.digest, plan.name, self._report(opened))
        return _Loaded(handle, opened, 0)

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        return options

    def _report(self, opened: Mapping[str, tuple[Binding, onnxruntime.InferenceSession]]) -> Provider:
        """What the sessions really run on; a quiet fall-back to the CPU shows here."""
        got_cuda = all("CUDAExecutionProvider" in session.get_providers() for _, session in opened.values())
        provider: Provider = "cuda" if self._asked == "cuda" and got_cuda else "cpu"
        if provider != self._runtime.provider:
            if self._insist:
                raise ConfigError(
                    f"CUDA was asked for, but its provider could not be loaded ({self._runtime.note}); "
                    "install CUDA and cuDNN, or ask for 'auto'"
                )
            note = f"{self._runtime.note}, but the CUDA provider could not be loaded: running on the CPU"
            runtime = self._runtime
            self._runtime = Runtime(runtime.name, runtime.version, provider, runtime.threads, note)
        return provider
