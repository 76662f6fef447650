"""Which execution provider to ask ONNX Runtime for.

Rules of this module:

* CUDA is asked for only where the driver answers and reports a device. Asking in vain would load the provider's
  libraries (hundreds of megabytes) and write to stderr.
* What was asked for is not what one got: the interpreter reports what its sessions run on.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from functools import cache
from typing import Any, Final, Literal

import onnxruntime

from sojourn.errors import ConfigError

__all__ = ["Provider", "Request", "cuda_devices", "providers_for"]

Provider = Literal["cpu", "cuda"]
Request = Literal["auto", "cpu", "cuda"]

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"

# Reproducible arithmetic before speed: no TF32, and the algorithm of a convolution is not chosen by a stopwatch.
_CUDA_OPTIONS: Final = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}


@cache
def cuda_devices() -> int:
    """Number of CUDA devices that the driver reports; 0 without a driver."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def providers_for(request: Request) -> tuple[list[Any], str]:
    """The provider list to give a session, best first, and why it is this one.

    Args:
        request: `"auto"` takes CUDA where there is a device; `"cpu"` and `"cuda"` insist.

    Raises:
        ConfigError: `"cuda"` was insisted on and there is none.
    """
    built = _CUDA in onnxruntime.get_available_providers()
    devices = cuda_devices() if built and request != "cpu" else 0
    if request == "cpu":
        return [_CPU], "the CPU was asked for"
    if devices:
        said = _preload()
        return [(_CUDA, dict(_CUDA_OPTIONS)), _CPU], f"{devices} CUDA device(s){f', {said}' if said else ''}"
    why = "no CUDA device" if built else "this ONNX Runtime is built without CUDA"
    if request == "cuda":
        raise ConfigError(f"CUDA was asked for, but there is {why}; install the driver or ask for 'auto'")
    return [_CPU], why


def _preload() -> str:
    """Load the CUDA libraries that were installed with pip; the first complaint, which is else printed to stdout."""
    printed = io.StringIO()
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        with contextlib.redirect_stdout(printed):
            preload()
    return printed.getvalue().partition("\n")[0]
