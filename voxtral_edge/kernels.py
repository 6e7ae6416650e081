"""Which compute kernels this build and this CPU have.

The environment variable VOXTRAL_EDGE_ISA forces one of `available()`; it is read at first use.
"""

from __future__ import annotations

from voxtral_edge._native import native_module


def available() -> list[str]:
    """Names of the kernel sets this CPU can run, best first; the last one is always "scalar"."""
    return list(native_module().kernels_available())


def active() -> str:
    """The kernel set in use: VOXTRAL_EDGE_ISA if set, else the best available. UsageError for a name that this build
    has not, DeviceError for kernels that this CPU cannot run."""
    return str(native_module().kernels_active())


def cpu_features() -> list[str]:
    """Names of this CPU's instruction set extensions that matter here, as the dispatcher sees them."""
    return list(native_module().cpu_features())
