# SPDX-License-Identifier: BSD-3-Clause
"""Whether an argument is a tensor, and whether its numbers can be seen: no tracer has them yet."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

_included = torch._C._dispatch_tls_is_dispatch_key_included  # pyright: ignore
_TRANSFORM = torch._C.DispatchKey.FuncTorchDynamicLayerFrontMode  # pyright: ignore
_MODES = torch._C.DispatchKey.Python, torch._C.DispatchKey.PreDispatch  # pyright: ignore


def check_tensor(name: str, given: object) -> None:
    """Refuse what is no tensor, with the call that makes it one."""
    if not isinstance(given, Tensor):
        kind = type(given)
        make = "torch.from_numpy" if kind.__module__ == "numpy" else "torch.tensor"
        raise TypeError(f"{name} must be a tensor, but is a {kind.__name__}: pass {make}({name}).")


def exporting() -> bool:
    """Whether torch.export traces; up to PyTorch 2.12 is_exporting() is true in every graph."""
    return torch.compiler._is_exporting_flag  # pyright: ignore


def recorded() -> bool:
    """Whether a tracer writes down the operators of PyTorch: torch.jit.trace, make_fx."""
    if torch._C._get_tracing_state() is not None:  # pyright: ignore
        return True
    return any(map(_included, _MODES)) and get_proxy_mode() is not None


def transforming() -> bool:
    """Whether a transform of ``torch.func`` is active, be our tensors among its own or not."""
    return _included(_TRANSFORM)


def traced() -> bool:
    """Whether a graph is made, in which values are not known yet."""
    return torch.compiler.is_compiling() or recorded()


def unseen(tensor: Tensor) -> bool:
    """Whether values are unknown: in a traced graph, under vmap or for fake tensors."""
    if traced():
        return True
    return type(tensor) not in (Tensor, torch.nn.Parameter) or not in_memory(tensor)


def in_memory(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor can be read: those inside a function transform cannot."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return True
