"""What consumes effects and emits results: the contract, and ONNX Runtime behind it.

Rules of this package:

* A graph from outside is untrusted input: it is parsed and judged as plain data first (`admit_graph`, `check_plan`),
  and only then given to a runtime.
* An interpreter takes plain data and returns plain data. It shares no mutable state with its caller, keeps no
  reference to an input and raises only errors of `sojourn.errors`, so that it can move into a worker process.
* Nothing here knows about policies, keys or programs.
"""

from sojourn.interpreters.admission import admit_graph
from sojourn.interpreters.contract import Feed, Interpreter, PlanHandle, Result, Runtime, State, Tensor
from sojourn.interpreters.manifest import CheckedPlan, check_plan, plan_digest
from sojourn.interpreters.onnx_runtime import OnnxInterpreter

__all__ = [
    "CheckedPlan",
    "Feed",
    "Interpreter",
    "OnnxInterpreter",
    "PlanHandle",
    "Result",
    "Runtime",
    "State",
    "Tensor",
    "admit_graph",
    "check_plan",
    "plan_digest",
]
