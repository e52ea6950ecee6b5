# SPDX-License-Identifier: BSD-3-Clause
"""Products of weights with matrices of a kind, weights·D and weights·Dᵀ, by compiled kernels.

A kernel visits a row of weights while it is in the cache and holds nothing else of its size. It
knows the kinds whose product takes O(C) a row; transformed matrices go through their base.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lossmatrix.costs import CostMatrix, Ordinal, Sparse, Tree, ZeroOne
from lossmatrix.costs.base import full_precision
from lossmatrix.costs.transformed import Adjusted
from lossmatrix.engines.cpu import compile as compiling
from lossmatrix.tensors import in_memory

ZERO_ONE, ORDINAL, TREE, SPARSE = range(4)  # as in engines/cpu/products.hpp
TYPES = {torch.float32: 0, torch.float64: 1}
SOFTMAX_ENTRIES = 2**20  # probabilities in memory at a time where they have to be written out


class ProductTask(ctypes.Structure):
    """``struct Product`` of engines/cpu/products.hpp, field by field."""

    _fields_ = [  # ctypes wants this name and a list
        ("kind", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("classes", ctypes.c_int64),
        ("order", ctypes.c_void_p),
        ("power", ctypes.c_int64),
        ("gaps", ctypes.c_void_p),
        ("nodes", ctypes.c_int64),
        ("parent", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("parent_of_class", ctypes.c_void_p),
        ("rise", ctypes.c_void_p),
        ("rise_of_class", ctypes.c_void_p),
        ("usual", ctypes.c_double),
        ("exceptions", ctypes.c_int64),
        ("change", ctypes.c_void_p),
        ("from", ctypes.c_void_p),
        ("to", ctypes.c_void_p),
    ]


class Program:
    """A matrix as its kernel reads it, for one dtype of weights and one side."""

    def __init__(self, costs: CostMatrix, dtype: torch.dtype, fields: dict[str, Any]) -> None:
        self.kept: list[Tensor] = []  # whose addresses the kernel reads
        self.product = ProductTask(type=TYPES[dtype], classes=costs.num_classes)
        for name, value in fields.items():
            if isinstance(value, Tensor):
                self.kept.append(value.contiguous())
                value = self.kept[-1].data_ptr()
            setattr(self.product, name, value)
        self.address = ctypes.addressof(self.product)


# ---- kinds ---------------------------------------------------------------------------------------


def _zero_one(costs: ZeroOne, dtype: torch.dtype, transposed: bool) -> dict[str, Any]:
    return {"kind": ZERO_ONE}


def _ordinal(costs: Ordinal, dtype: torch.dtype, transposed: bool) -> dict[str, Any] | None:
    if costs.power not in (1, 2):
        return None
    x, order = costs.tables["positions"].detach(), costs.tables.get("order")
    fields: dict[str, Any] = {"kind": ORDINAL, "power": int(costs.power)}
    if order is not None:
        x, fields["order"] = x[order], order.int()
    return fields | {"gaps": pad(x.diff(), (1, 1)).to(dtype)}


def _tree(costs: Tree, dtype: torch.dtype, transposed: bool) -> dict[str, Any]:
    tables = costs.tables
    cost, parent = tables["cost"].detach().double(), tables["parent"]
    rise = (cost[parent] - cost).to(dtype)
    order, leaf = tables["order"], tables["leaf"][tables["order"]]
    is_inner = torch.ones_like(parent, dtype=torch.bool).index_fill(0, leaf, False)
    number = (is_inner.cumsum(0) - 1).int()  # of an inner node, among those
    inner = is_inner.nonzero().squeeze(-1)
    fields: dict[str, Any] = {
        "kind": TREE,
        "nodes": len(inner),
        "parent": number[parent[inner]],
        "begin": tables["start"][inner].int(),
        "end": tables["stop"][inner].int(),
        "rise": rise[inner],
        "parent_of_class": number[parent[leaf]],
        "rise_of_class": rise[leaf],
    }
    return fields if bool((order.diff() == 1).all()) else fields | {"order": order.int()}


def _sparse(costs: Sparse, dtype: torch.dtype, transposed: bool) -> dict[str, Any]:
    tables = costs.tables
    truth, decision = tables["truth"], tables["decision"]
    default, cost = tables["default"].detach().double(), tables["cost"].detach().double()
    change, came, went = cost - default * (truth != decision), truth, decision
    if transposed:
        came, went = decision, truth
    else:
        order = tables["by_decision"]
        change, came, went = change[order], came[order], went[order]
    return {
        "kind": SPARSE,
        "usual": default.item(),
        "exceptions": len(change),
        "change": change,
        "from": came.int(),
        "to": went.int(),
    }


# A subclass may state other costs, so only these very classes are known.
KINDS: dict[type[CostMatrix], Callable[[Any, torch.dtype, bool], dict[str, Any] | None]] = {
    ZeroOne: _zero_one,
    Ordinal: _ordinal,
    Tree: _tree,
    Sparse: _sparse,
}
Key = tuple[int, torch.dtype, bool]
_programs: dict[Key, tuple[weakref.ref[CostMatrix], Program | None]] = {}


def _program(costs: CostMatrix, dtype: torch.dtype, transposed: bool) -> Program | None:
    """The program of a matrix, made once in its life; None where there is no kernel."""
    if type(costs) not in KINDS:
        return None
    # By identity: matrices that are equal compare all their labels first.
    key = (id(costs), dtype, transposed)
    known = _programs.get(key)
    if known is None or known[0]() is not costs:
        owner = weakref.ref(costs, lambda _: _programs.pop(key, None))
        known = _programs[key] = owner, _make_program(costs, dtype, transposed)
    return known[1]


def _make_program(costs: CostMatrix, dtype: torch.dtype, transposed: bool) -> Program | None:
    tables = costs.tables.values()
    here = all(table.device.type == "cpu" and in_memory(table) for table in tables)
    if dtype not in TYPES or not here or kernels() is None:
        return None
    fields = KINDS[type(costs)](costs, dtype, transposed)
    return None if fields is None else Program(costs, dtype, fields)


# ---- kernels -------------------------------------------------------------------------------------

SOURCE = """#define LOSSMATRIX_ISA lossmatrix_{isa}
#include "products.hpp"
LOSSMATRIX_PRODUCTS(lossmatrix_multiply_{isa}, lossmatrix_least_cost_{isa})
"""


@functools.cache
def kernels() -> tuple[Callable[..., None], Callable[..., int], int] | None:
    """``multiply`` and ``least_cost`` of products.hpp, and PyTorch's parallel loop."""
    isa = compiling.instruction_set(torch.float32)
    library = compiling.shipped()
    if library is None or not hasattr(library, f"lossmatrix_multiply_{isa}"):
        try:
            library = compiling.compiled("products", SOURCE.format(isa=isa), isa, "products")
        except compiling.CannotCompileError:
            return None
    multiply = getattr(library, f"lossmatrix_multiply_{isa}")
    least_cost = getattr(library, f"lossmatrix_least_cost_{isa}")
    pointer, count, threads = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
    multiply.argtypes = [pointer, pointer, pointer, count, threads, pointer]
    multiply.restype = None
    given = [pointer, pointer, ctypes.c_int32, pointer, pointer, ctypes.c_double]
    least_cost.argtypes = [*given, count, threads, pointer]
    least_cost.restype = ctypes.c_int32
    return multiply, least_cost, compiling.parallel_for()


def _readable(tensor: Tensor) -> bool:
    """Whether a kernel can read the numbers of a tensor."""
    return (
        not torch.compiler.is_compiling()
        and tensor.device.type == "cpu"
        and tensor.dtype in TYPES
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and in_memory(tensor)
    )


# ---- what is computed ----------------------------------------------------------------------------


def multiply(
    costs: CostMatrix, weights: Tensor, transposed: bool = False, out: Tensor | None = None
) -> Tensor | None:
    """weights·D, (…, C) → (…, K), or weights·Dᵀ, (…, K) → (…, C); None where there is no kernel.

    Float32 or float64 on the CPU; nothing is recorded for autograd. ``out``, contiguous and another
    tensor than ``weights``, is filled where it is given.
    """
    if not _readable(weights):
        return None
    if type(costs) is Adjusted:
        return _multiply_adjusted(costs, weights, transposed, out)
    program, found = _program(costs, weights.dtype, transposed), kernels()
    if program is None or found is None:
        return None
    weights = weights.contiguous()
    if out is None:
        out = torch.empty_like(weights)
    elif out.shape != weights.shape or out.dtype != weights.dtype or not out.is_contiguous():
        raise ValueError(
            f"out must be contiguous {weights.dtype} of shape {tuple(weights.shape)}, got "
            f"{out.dtype} of shape {tuple(out.shape)}."
        )
    rows = weights.numel() // costs.num_classes
    call, _, loop = found
    call(
        program.address,
        weights.data_ptr(),
        out.data_ptr(),
        rows,
        torch.get_num_threads(),
        loop,
    )
    return out


def _multiply_adjusted(
    costs: Adjusted, weights: Tensor, transposed: bool, out: Tensor | None
) -> Tensor | None:
    """[factor · base − offset·1ᵀ | extra], or its transpose, through the product of the base."""
    K = costs.base.num_decisions
    given = weights[..., :K] if transposed else weights
    own = {name: costs.tables[name].to(weights.dtype) for name in OWN if name in costs.tables}
    product = multiply(costs.base, given, transposed)
    if product is None:
        return None
    with torch.no_grad(), full_precision(weights.device):
        if "factor" in own:
            product *= own["factor"]
        if "offset" in own and transposed:
            product -= given.sum(-1, keepdim=True) * own["offset"]
        elif "offset" in own:
            product -= _weighed(weights, own["offset"]).unsqueeze(-1)
        if "extra" in own and transposed:
            product += weights[..., K:] * own["extra"]
        elif "extra" in own:
            product = torch.cat([product, _weighed(weights, own["extra"]).unsqueeze(-1)], -1)
    return product if out is None else out.copy_(product)


OWN = ("factor", "offset", "extra")
BLOCK_SUMS = 2**14  # numbers multiplied and summed at a time: small memory is used again


def decides(costs: CostMatrix, dtype: torch.dtype) -> bool:
    """Whether ``least_cost`` knows the matrix, for probabilities of this dtype."""
    if type(costs) is Adjusted:
        return decides(costs.base, dtype)
    return _program(costs, dtype, False) is not None


def least_cost(
    costs: CostMatrix, given: Tensor, tolerance: float, is_logits: bool = False
) -> Tensor | None:
    """The least expensive decision for each row of probabilities or logits (N, C).

    Ties go to the lowest. None where a row of probabilities has a negative entry or a sum that is
    not within ``tolerance`` of 1, or where the softmax of a row is none. Each row is checked,
    multiplied and decided while it is in the cache.
    """
    given = given.contiguous()
    # Neither a factor nor an offset of a row changes which decision costs least.
    while type(costs) is Adjusted and "extra" not in costs.tables:
        costs = costs.base
    if is_logits and type(costs) is Adjusted:  # the extra decisions ask for the probabilities
        step = max(1, SOFTMAX_ENTRIES // costs.num_classes)
        blocks = (given[start : start + step] for start in range(0, len(given), step))
        parts = [_least_cost(costs, z.softmax(-1), tolerance, False) for z in blocks]
        found = [part[0] for part in parts if part is not None]
        none = given.new_empty(0, dtype=torch.int64)
        return torch.cat([none, *found]) if len(found) == len(parts) else None
    found = _least_cost(costs, given, tolerance, is_logits)
    return None if found is None else found[0]


def _least_cost(
    costs: CostMatrix, given: Tensor, tolerance: float, is_logits: bool
) -> tuple[Tensor, Tensor] | None:
    """Decisions (N,) and what they are expected to cost (N,)."""
    if type(costs) is Adjusted:
        found, own = _least_cost(costs.base, given, tolerance, is_logits), costs.tables
        if found is None:
            return None
        decision, cost = found
        if "factor" in own:
            cost = cost * own["factor"].to(cost.dtype)
        if "offset" in own:
            cost = cost - _weighed(given, own["offset"])
        if "extra" in own:
            extra = _weighed(given, own["extra"])
            decision = torch.where(extra < cost, costs.base.num_decisions, decision)
            cost = torch.minimum(extra, cost)
        return decision, cost
    program, found = _program(costs, given.dtype, False), kernels()
    if program is None or found is None:
        raise ValueError(f"there is no kernel for {costs!r}: ask `decides` first.")
    decision = given.new_empty(len(given), dtype=torch.int64)
    cost = given.new_empty(len(given))
    _, call, loop = found
    fits = call(
        program.address,
        given.data_ptr(),
        is_logits,
        decision.data_ptr(),
        cost.data_ptr(),
        tolerance,
        len(given),
        torch.get_num_threads(),
        loop,
    )
    return (decision, cost) if fits else None


def _weighed(weights: Tensor, costs: Tensor) -> Tensor:
    """weights · costs, row by row: a product of matrices would be summed as threads divide it."""
    costs = costs.to(weights.dtype)
    rows, step = weights.reshape(-1, len(costs)), max(1, BLOCK_SUMS // len(costs))
    sums = weights.new_empty(len(rows))
    for i in range(0, len(rows), step):
        torch.sum(rows[i : i + step] * costs, -1, out=sums[i : i + step])
    return sums.reshape(weights.shape[:-1])
