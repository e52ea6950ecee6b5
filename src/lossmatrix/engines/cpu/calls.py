# SPDX-License-Identifier: BSD-3-Clause
"""From a plan to kernel calls: formulas and costs made ready once, tensors handed over each time.

What decisions are expected to cost is made inside the kernel up to ``MAX_FUSED`` classes and
decisions. Beyond, a block of rows takes three kernels with products of the matrix in between:

    error e = p − t  →  excess x = e·D  →  formula over decisions: loss, ρ  →  r = ρ·Dᵀ  →  gradient
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lossmatrix.codegen.cpp import Formula, joined, print_cpp
from lossmatrix.codegen.derive import (
    DECISIONS,
    HARD,
    SOFT,
    CellKind,
    derive,
    parameters,
    streams,
    structure,
)
from lossmatrix.costs import CostMatrix, Dense, PerExample
from lossmatrix.costs.base import HALVES, multiply
from lossmatrix.costs.per_label import PerLabel
from lossmatrix.engines.cpu import products
from lossmatrix.engines.cpu.compile import (
    ROWS,
    TENSORS,
    TILES,
    CannotCompileError,
    Kernel,
    KernelTask,
    kernel,
    parallel_for,
)
from lossmatrix.engines.cpu.costs import row_program
from lossmatrix.engines.plan import (
    ERROR,
    NoKernelError,
    TermGroup,
    plan_of,
    risk_factor,
)
from lossmatrix.losses.base import Term
from lossmatrix.problem import ALL_ROWS, Bound, blocks, out_of_bounds

# Sizes at which the way changes, each with what set it (Intel Xeon with AVX-512, two threads).
MAX_TABLE_CLASSES = 2048  # a structured matrix is written out as a table: 16 MB, near the L2 cache
MAX_NARROW = 48  # rows side by side: beyond, transposing takes longer than the ends of rows
MAX_FUSED = 128  # classes and decisions: D then takes 64 KB beside a tile of rows
BLOCK_COSTS = 2**22  # numbers in memory at a time where costs are looked up row by row
BLOCK_RISK = 2**21  # numbers of a block of rows between kernels and products: huge pages, in L3

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
TARGET_TYPES = {torch.int64: 0, torch.int32: 1, torch.uint8: 2}


# --- made ready once -----------------------------------------------------------------------------


@dataclass
class KernelCall:
    """A formula with its kernels, and a ``KernelTask`` with all that stays from call to call.

    ``looked_up`` are the streams whose rows of costs are made for every row before the kernel
    runs: costs of samples, and kinds that kernels do not know. With class probabilities these are
    all streams but tables of few classes.
    """

    formula: Formula
    dtype: torch.dtype
    task: KernelTask
    kind: CellKind
    costs: tuple[CostMatrix, ...]
    looked_up: tuple[int, ...]
    few: bool  # whether expected costs are made inside the kernel
    has_rules: bool  # whether costs are made inside the kernel
    fused: bool  # whether risks are made inside the kernel
    alive: list[object] = field(default_factory=list[object])
    smooth: dict[float, list[Tensor]] = field(default_factory=dict[float, list[Tensor]])
    kernels: dict[int, Kernel] = field(default_factory=dict[int, Kernel])

    def kernel(self, layout: int) -> Kernel:
        """Its kernel for one loop over rows; compiled where it has none yet."""
        known = self.kernels.get(layout)
        if known is None:
            known = self.kernels[layout] = kernel(self.formula, self.dtype, layout)
        return known

    def layout(self, logits: Tensor, soft: bool) -> int:
        """Which loop visits the rows.

        Costs that are made by a rule are made for rows; expected costs and risks for tiles. Rows
        side by side pay off while transposing them costs less than the ends of a row alone.
        """
        if self.fused or (soft and self.few and self.costs):
            return TILES
        classes = logits.shape[1]
        narrow = classes < MAX_NARROW or (logits.stride(1) != 1 and classes <= MAX_TABLE_CLASSES)
        return TILES if narrow and not self.has_rules else ROWS


@dataclass
class RiskCalls:
    """The kernels of a group whose risks are made between them."""

    costs: CostMatrix
    error: KernelCall
    decisions: KernelCall | None
    classes: KernelCall
    error_factor: float  # ρ as a multiple of the error, where cells are classes


Calls = list["KernelCall | RiskCalls"]


def prepared_calls(
    bound: Bound, dtype: torch.dtype, smoothed: bool, logits: Tensor, soft: bool
) -> Calls:
    """The calls of a plan for one dtype of the computation; compiles what has no kernel yet."""
    key = ("cpu", dtype, smoothed)
    calls: Calls | str | None = bound.cache.get(key)
    if calls is None:
        try:
            calls = _make_calls(bound, dtype, smoothed, logits, soft)
        except (NoKernelError, CannotCompileError) as error:
            calls = str(error)
        bound.cache[key] = calls
    if isinstance(calls, str):
        raise NoKernelError(calls)
    return calls


def _make_calls(
    bound: Bound, dtype: torch.dtype, smoothed: bool, logits: Tensor, soft: bool
) -> Calls:
    groups = plan_of(bound)
    for term in bound.terms:
        if smoothed and term.costs is not None and _of_samples(term.costs):
            raise NoKernelError("class probabilities are not read with costs of samples")
        for table in () if term.costs is None else term.costs.tables.values():
            if table.device.type != "cpu":
                raise NoKernelError(
                    f"the costs are on {table.device}, and its kernels run on the CPU"
                )
    calls: Calls = []
    for group in groups:
        kind = SOFT if smoothed and group.linear_in_truth else HARD
        try:
            calls += _compiled(_calls_of(group, kind, dtype), logits, soft)
        except CannotCompileError as error:
            parts = _parts(group)
            if len(parts) == 1:
                raise NoKernelError(
                    f"its kernel is not among those shipped, and {error}"
                ) from error
            for part in parts:
                calls += _compiled(_calls_of(part, kind, dtype), logits, soft)
    return calls


def _compiled(calls: Calls, logits: Tensor, soft: bool) -> Calls:
    """The calls with the kernels that these logits need."""
    for call in calls:
        if isinstance(call, RiskCalls):
            wide = logits.unsqueeze(2) if logits.dim() == 2 else logits
            call.error.kernel(call.error.layout(wide, soft))
            call.classes.kernel(call.classes.layout(wide, soft))
            if call.decisions is not None:
                call.decisions.kernel(ROWS if call.costs.num_decisions >= MAX_NARROW else TILES)
        else:
            call.kernel(call.layout(logits, soft))
    return calls


def _parts(group: TermGroup) -> list[TermGroup]:
    """Every term by itself: without a compiler only those may have kernels."""
    others = [TermGroup((term,)) for term in group.terms if term is not group.risk]
    if group.risk is None:
        return others
    return [*others, TermGroup(() if group.decisions else (group.risk,), group.risk)]


def formulas_of(group: TermGroup, kind: CellKind) -> list[Formula]:
    """The formulas that a group may be run by: in one kernel; and its parts, beyond MAX_FUSED."""
    classes = _formula(group.terms, kind, group.risk is not None)
    if group.decisions is None:
        return [classes]
    decisions = _formula((group.decisions,), DECISIONS, False)
    return [joined(classes, decisions), classes, decisions]


def _calls_of(group: TermGroup, kind: CellKind, dtype: torch.dtype) -> Calls:
    whole, *parts = formulas_of(group, kind)
    if group.risk is None:
        return [_call(whole, group.terms, kind, dtype)]
    costs = group.risk.costs
    if costs is None or _of_samples(costs):
        raise NoKernelError("it reads risks of costs that every sample has of its own")
    if max(costs.shape) <= MAX_FUSED:
        call = _call(whole, group.terms, kind, dtype)
        table = _table(costs, dtype)
        call.alive.append(table)
        call.task.labels = _labels(costs)
        call.task.risk_costs, call.task.risk_stride = table.data_ptr(), table.stride(-2)
        call.task.decisions = costs.num_decisions
        if group.decisions is not None:
            for i, value in enumerate(parameters((group.decisions,))):
                call.task.decision_parameters[i] = value
        known = costs if isinstance(costs, PerLabel) else Dense(table)
        call.costs, call.fused = (*call.costs, known), True
        return [call]
    classes, decisions = (whole, None) if group.decisions is None else (parts[0], parts[1])
    return [
        RiskCalls(
            costs.to(dtype=dtype),
            _call(_formula(ERROR, kind, False), ERROR, kind, dtype),
            None
            if decisions is None or group.decisions is None
            else _call(decisions, (group.decisions,), DECISIONS, dtype),
            _call(classes, group.terms, kind, dtype),
            0.0 if decisions is not None else risk_factor(group),
        )
    ]


def _call(
    formula: Formula, terms: tuple[Term, ...], kind: CellKind, dtype: torch.dtype
) -> KernelCall:
    task = KernelTask()
    task.parallel_for = parallel_for()
    for i, value in enumerate(parameters(terms)):
        task.parameters[i] = value
    matrices: dict[int, CostMatrix] = {}
    for term, stream in zip(terms, streams(terms), strict=True):
        if stream is not None and term.costs is not None:
            matrices[stream] = term.costs.to(dtype=dtype)
    costs = tuple(matrices[i] for i in range(len(matrices)))
    alive: list[object] = []
    looked_up: list[int] = []
    few = all(not _of_samples(each) and each.num_classes <= MAX_FUSED for each in costs)
    for i, each in enumerate(costs):
        small = not _of_samples(each) and each.num_classes <= MAX_TABLE_CLASSES
        if small or isinstance(each, Dense):
            table = _table(each, dtype)
            alive.append(table)
            task.labels = _labels(each)
            task.costs[i], task.costs_stride[i] = table.data_ptr(), table.stride(-2)
        elif (program := row_program(each, dtype)) is not None:
            alive.append(program)
            task.rule[i] = ctypes.pointer(program.program)
        else:
            looked_up.append(i)
    rules = any(bool(task.rule[i]) for i in range(len(costs)))
    return KernelCall(formula, dtype, task, kind, costs, tuple(looked_up), few, rules, False, alive)


def _table(costs: CostMatrix, dtype: torch.dtype) -> Tensor:
    """All costs, each row in one piece, in the dtype that kernels read, whatever the kind has."""
    if isinstance(costs, PerLabel):
        return costs.tables["table"].to(dtype).contiguous()
    table = costs.tables["table"] if isinstance(costs, Dense) else costs.to_dense()
    table = table.to(dtype)
    return table if table.stride(1) == 1 else table.contiguous()


def _labels(costs: CostMatrix) -> int:
    """How many tables samples have in turn; 0 where all of them have one."""
    return len(costs.tables["table"]) if isinstance(costs, PerLabel) else 0


def _of_samples(costs: CostMatrix) -> bool:
    """Whether every row of logits has costs of its own, which come with the batch."""
    return costs.num_samples is not None and not _labels(costs)


_formulas: dict[tuple[object, ...], Formula] = {}


def _formula(terms: tuple[Term, ...], kind: CellKind, risk: bool) -> Formula:
    key = (structure(terms), kind, risk)
    if key not in _formulas:
        title = " + ".join(type(term.loss).__name__ for term in terms) or "a loss"
        _formulas[key] = print_cpp(derive(terms, kind, risk), title)
    return _formulas[key]


# --- handed over each time -----------------------------------------------------------------------


@dataclass(slots=True)
class Visit:
    """The tensors of a call: logits and gradient (B, C, P), target and weights (B, P).

    Or all of them without P. Class probabilities have the shape of the logits; of two classes they
    may be those of class 1 alone.
    """

    logits: Tensor
    target: Tensor
    soft: bool
    weight: Tensor | None
    sample_weight: Tensor | None
    ignore_index: int
    reduction: str
    label_smoothing: float
    gradient: Tensor | None
    losses: Tensor | None = None
    one_logit: bool = False  # logits and gradient (1, 1, P), those of class 1 against 0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Batch, classes, positions."""
        shape = self.logits.shape
        if self.one_logit:
            return shape[0], 2, shape[2]
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (shape[0], shape[1], 1)

    def with_positions(self) -> Visit:
        """The same with P everywhere: samples are counted by batch and position."""
        if self.logits.dim() == 3:
            return self

        def wide(tensor: Tensor | None, dim: int) -> Tensor | None:
            return None if tensor is None else tensor.unsqueeze(dim)

        return replace(
            self,
            logits=self.logits.unsqueeze(2),
            target=self.target.unsqueeze(2 if self.soft else 1),
            gradient=wide(self.gradient, 2),
            sample_weight=wide(self.sample_weight, 1),
            losses=wide(self.losses, 1),
        )


def compute_dtype(logits: Tensor, target: Tensor) -> torch.dtype:
    """float64 where logits or probabilities are, float32 for all others."""
    return torch.float64 if torch.float64 in (logits.dtype, target.dtype) else torch.float32


def run_visits(bound: Bound, visit: Visit, dtype: torch.dtype) -> float | Tensor:
    """The reduction of the losses; or all of them, in the dtype of the computation."""
    batch, _, positions = visit.sizes
    if visit.reduction == "none":
        shape = (batch, positions) if visit.logits.dim() == 3 else (batch,)
        visit.losses = torch.empty(shape, dtype=dtype)
    if visit.weight is not None:
        visit.weight = visit.weight.detach().to(dtype).contiguous()
    if visit.sample_weight is not None:
        visit.sample_weight = visit.sample_weight.detach().to(dtype).contiguous()
    if visit.soft:
        visit.target = visit.target.detach()
        if visit.target.dtype != visit.logits.dtype:
            visit.target = visit.target.to(dtype)
        if dtype == torch.float64 and visit.logits.dtype != dtype:
            return _widened(bound, visit, dtype)
    total, started = 0.0, False
    smoothed = visit.soft or visit.label_smoothing > 0
    calls = prepared_calls(bound, dtype, smoothed, visit.logits, visit.soft)
    if visit.gradient is not None and visit.gradient.dtype in HALVES:
        by_truth = any(isinstance(each, KernelCall) and each.kind is HARD for each in calls)
        if len(calls) > 1 or (smoothed and by_truth):  # a sum of gradients is rounded once
            return _widened(bound, visit, dtype)
    for call in calls:
        if isinstance(call, RiskCalls):
            total += _run_risk(call, visit.with_positions(), dtype, started)
        elif smoothed and call.kind is HARD:
            total += _run_truths(call, visit, dtype, started)
        else:
            total += _run(call, visit, dtype, started)
        started = True
    return total if visit.losses is None else visit.losses


def _widened(bound: Bound, visit: Visit, dtype: torch.dtype) -> float | Tensor:
    """In the dtype of the computation throughout, rounded at the end."""
    wide = replace(visit, logits=visit.logits.to(dtype))
    if visit.gradient is not None:
        wide.gradient = torch.empty_like(wide.logits)
    value = run_visits(bound, wide, dtype)
    if visit.gradient is not None and wide.gradient is not None:
        visit.gradient.copy_(wide.gradient)
    return value


def _run(call: KernelCall, visit: Visit, dtype: torch.dtype, started: bool) -> float:
    """One call; in blocks of rows where their costs are looked up."""
    looked_up = call.looked_up
    if visit.soft and call.kind is SOFT and not call.few:
        looked_up = tuple(range(len(call.costs)))
    if not looked_up:
        return _run_block(call, visit, dtype, started, ALL_ROWS, 0.0, ())
    visit = visit.with_positions()
    if visit.losses is not None and visit.losses.dim() == 1:
        visit.losses = visit.losses.unsqueeze(1)
    parts = list(blocks(visit.sizes, BLOCK_COSTS))
    denominator = 0.0
    if visit.reduction == "mean" and len(parts) > 1:
        denominator = _denominator(visit)
    return sum(
        _run_block(call, visit, dtype, started, block, denominator, looked_up) for block in parts
    )


def _run_block(
    call: KernelCall,
    visit: Visit,
    dtype: torch.dtype,
    started: bool,
    block: tuple[slice, slice],
    denominator: float,
    looked_up: tuple[int, ...],
    rows: dict[str, Tensor] | None = None,
) -> float:
    """Fill in a task and run it; ``rows`` are further rows (n, …) that the kernel reads."""
    task = KernelTask.from_buffer_copy(call.task)  # several threads may be here at once
    all_rows = block is ALL_ROWS  # slicing takes as long as a small loss
    b, p = block
    z, y, g, soft = visit.logits, visit.target, visit.gradient, visit.soft
    if not all_rows:
        z, g = z[b, :, p], None if g is None else g[b, :, p]
        y = y[b, :, p] if soft else y[b, p]
    one = () if z.dim() == 3 else (1,)
    strides = (*z.stride(), *one)
    hard = not soft
    TENSORS.pack_into(
        task,
        0,
        z.data_ptr(),
        0 if g is None else g.data_ptr(),
        z.shape[0],
        visit.sizes[1],
        *z.shape[2:],
        *one,
        *strides,
        *(strides if g is None else (*g.stride(), *one)),
        TYPES[z.dtype],
        TARGET_TYPES[y.dtype] if hard else 0,
        y.data_ptr() if hard else 0,
        *((*y.stride(), *one) if hard else (0, 0)),
        visit.ignore_index,
    )
    task.one_logit = visit.one_logit
    task.gradient_dense = all_rows
    task.mean, task.denominator = visit.reduction == "mean", denominator
    task.threads = torch.get_num_threads()
    task.accumulate = started
    alive: list[Tensor] = []  # keeps converted tensors until the kernel is done
    if visit.weight is not None:
        task.weight = visit.weight.data_ptr()
    if visit.sample_weight is not None:
        alive.append(visit.sample_weight if all_rows else visit.sample_weight[b, p].contiguous())
        task.sample_weight = alive[-1].data_ptr()
    losses = None
    if visit.losses is not None:
        losses = visit.losses if all_rows else visit.losses[b, p].contiguous()
        task.losses = losses.data_ptr()
    if call.kind is SOFT:
        alive += _soften(call, task, visit, y, dtype)
    for stream in looked_up:
        costs = call.costs[stream]
        alive.append(
            _expected(costs, visit, y, dtype) if soft else _rows(costs, visit, y, dtype, b, p)
        )
        task.costs[stream], task.costs_stride[stream] = alive[-1].data_ptr(), costs.num_decisions
        task.per_sample[stream] = 1
        task.rule[stream] = None
    for field_name, table in (rows or {}).items():
        setattr(task, field_name, table.data_ptr())
    layout = call.layout(z, soft)
    task.tiled = layout == TILES
    call.kernel(layout).run(ctypes.addressof(task))
    if task.is_outside:
        raise out_of_bounds(task.outside, visit.sizes[1])
    if losses is not None and visit.losses is not None and losses is not visit.losses:
        visit.losses[b, p] = losses
    return task.total


def _soften(
    call: KernelCall, task: KernelTask, visit: Visit, target: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Tell a kernel of probabilities, or of smoothing: t_j = keep_j · … + base_j."""
    classes, epsilon = visit.sizes[1], visit.label_smoothing
    weight = visit.weight
    alive: list[Tensor] = []
    if epsilon > 0 or weight is not None:
        unit = torch.ones(classes, dtype=dtype) if weight is None else weight
        alive += [(1.0 - epsilon) * unit, (epsilon / classes) * unit]
        task.keep, task.base = alive[0].data_ptr(), alive[1].data_ptr()
    if visit.soft:
        stride = target.stride()
        task.probs, task.probs_type = target.data_ptr(), TYPES[target.dtype]
        task.one_share = target.shape[1] < classes
        for i in range(3):
            task.probs_stride[i] = stride[i] if i < len(stride) else 1
    elif epsilon > 0:
        smooth = call.smooth.get(epsilon) if weight is None else None
        if smooth is None:
            smooth = [costs.expected(alive[1]).contiguous() for costs in call.costs]
            if weight is None:
                call.smooth[epsilon] = smooth
        alive += smooth
        for i, each in enumerate(smooth):
            if i == len(call.costs) - 1 and call.task.decisions:
                task.smooth_risk_costs = each.data_ptr()
            else:
                task.smooth_costs[i] = each.data_ptr()
    return alive


def _run_truths(call: KernelCall, visit: Visit, dtype: torch.dtype, started: bool) -> float:
    """ℓ(z; t) = Σ_i t_i ℓ(z; i) for what is not linear in the truth: a visit for every class."""
    shares, total = _shares(visit, dtype), 0.0
    shares = shares / (_denominator(visit) if visit.reduction == "mean" else 1.0)
    if visit.sample_weight is not None:
        shares = shares * visit.sample_weight.unsqueeze(1)
    for i in range(visit.sizes[1]):
        each = replace(
            visit,
            target=torch.full(shares.shape[:1] + shares.shape[2:], i),
            soft=False,
            weight=None,
            sample_weight=shares.select(1, i).contiguous(),
            ignore_index=-1,  # the share of ignored rows is 0
            reduction="none" if visit.reduction == "none" else "sum",
            label_smoothing=0.0,
        )
        total += _run(call, each, dtype, started or i > 0)
    return total


def _shares(visit: Visit, dtype: torch.dtype) -> Tensor:
    """The probability of every class to be the truth, times its weight, (B, C, …)."""
    classes, epsilon = visit.sizes[1], visit.label_smoothing
    counts = None
    if visit.soft:
        shares = visit.target.to(dtype)
        if shares.shape[1] < classes:
            shares = torch.cat((1 - shares, shares), 1)
    else:
        counts = visit.target != visit.ignore_index
        truth = torch.where(counts, visit.target, 0).long()
        check_truths(truth, classes)
        sizes = (len(truth), classes, *truth.shape[1:])
        shares = torch.zeros(sizes, dtype=dtype).scatter_(1, truth.unsqueeze(1), 1.0)
    if epsilon > 0:
        shares = (1.0 - epsilon) * shares + epsilon / classes
    if visit.weight is not None:
        shares = shares * visit.weight.reshape(-1, *[1] * (shares.dim() - 2))
    return shares if counts is None else shares * counts.unsqueeze(1)


def check_truths(truth: Tensor, classes: int) -> None:
    """Class indices outside [0, C) are an IndexError."""
    outside = (truth < 0) | (truth >= classes)
    if bool(outside.any()):
        raise out_of_bounds(int(truth[outside][0]), classes)


def _expected(costs: CostMatrix, visit: Visit, target: Tensor, dtype: torch.dtype) -> Tensor:
    """What every decision is expected to cost under the class probabilities, (rows, K)."""
    shares = _shares(replace(visit, target=target, logits=target), dtype)
    rows = shares.movedim(1, -1).reshape(-1, shares.shape[1])
    return costs.expected(rows).contiguous()


def _rows(
    costs: CostMatrix, visit: Visit, target: Tensor, dtype: torch.dtype, b: slice, p: slice
) -> Tensor:
    """The row of costs of each sample of a block, (rows, K)."""
    positions = visit.sizes[2]
    if isinstance(costs, PerExample) and target.shape[1] == positions:
        first, table = (b.start or 0) * positions, costs.tables["table"]
        if table.dim() == 2:  # as they are: copying them takes as long as reading the logits
            return table[first : first + target.numel()].to(dtype).contiguous()
    truth = torch.where(target != visit.ignore_index, target, 0).long()
    sample = torch.arange(truth.shape[0])[:, None] + (b.start or 0)
    sample = sample * positions + (p.start or 0) + torch.arange(truth.shape[1])
    return costs.row(truth.reshape(-1), sample.reshape(-1)).to(dtype).contiguous()


def _run_risk(calls: RiskCalls, visit: Visit, dtype: torch.dtype, started: bool) -> float:
    """Error, excess, decisions, risk and gradient, a block of rows after the other."""
    if visit.losses is not None and visit.losses.dim() == 1:
        visit.losses = visit.losses.unsqueeze(1)
    scale = 1.0 / _denominator(visit) if visit.reduction == "mean" else 1.0
    parts = list(blocks(visit.sizes, BLOCK_RISK))
    b, p = parts[0]  # none is larger
    rows = visit.logits[b, 0, p].numel()
    memory = [torch.empty(rows * max(calls.costs.shape), dtype=dtype) for _ in range(3)]
    return sum(_risk_block(calls, visit, dtype, started, part, scale, memory) for part in parts)


def _risk_block(
    calls: RiskCalls,
    visit: Visit,
    dtype: torch.dtype,
    started: bool,
    block: tuple[slice, slice],
    scale: float,
    memory: list[Tensor],
) -> float:
    """One block, in memory that all of them use: fresh memory costs more than the arithmetic."""
    b, p = block
    logits = visit.logits[b, :, p]
    rows, classes, positions = logits.shape
    count, decisions = rows * positions, calls.costs.num_decisions
    part = replace(
        visit,
        logits=logits.to(dtype),
        target=visit.target[b, :, p] if visit.soft else visit.target[b, p],
        gradient=None,
        sample_weight=None,
        losses=None,
        reduction="sum",
    )
    weight = torch.full((rows, positions), scale, dtype=dtype)
    if visit.soft or visit.label_smoothing > 0:  # shares of 1, and what they are shares of
        shares = _shares(part, dtype)
        sums = shares.sum(1)
        weight *= sums
        part.target = shares / torch.where(sums == 0, 1.0, sums).unsqueeze(1)
        part.soft, part.label_smoothing = True, 0.0
    elif visit.weight is not None:
        counts = part.target != visit.ignore_index
        weight *= visit.weight[torch.where(counts, part.target, 0).long()]
    if visit.sample_weight is not None:
        weight *= visit.sample_weight[b, p]
    part.weight = None

    def rows_in(place: Tensor, width: int) -> Tensor:
        return place[: count * width].view(count, width)

    def as_visited(table: Tensor) -> Tensor:
        """The same as (rows, width, positions)."""
        return table.view(rows, positions, -1).permute(0, 2, 1)

    error = rows_in(memory[0], classes)
    at_errors = replace(part, gradient=as_visited(error))
    _run_block(calls.error, at_errors, dtype, False, ALL_ROWS, 0.0, ())
    excess = _product(error, calls.costs, False, memory[1])
    total, losses = 0.0, None
    if calls.decisions is None:
        along_risk = error.mul_(calls.error_factor)
    else:
        along_risk = rows_in(memory[0], decisions)
        losses = torch.empty(rows, positions, dtype=dtype)
        logits_of_decisions = torch.zeros(1, decisions, 1, dtype=dtype)
        logits_of_decisions = logits_of_decisions.expand(rows, decisions, positions)
        slopes = as_visited(along_risk)
        over = replace(part, logits=logits_of_decisions, gradient=slopes, losses=losses)
        looked_up = (0,) if part.soft else calls.decisions.looked_up
        further = {"excess": excess}
        _run_block(calls.decisions, over, dtype, False, ALL_ROWS, 0.0, looked_up, further)
        losses = torch.where(weight == 0, 0.0, losses * weight)
        total += losses.double().sum().item()
    further = {"excess": excess, "risk_grad": error}
    if visit.gradient is not None:
        further["risk_grad"] = _product(along_risk, calls.costs, True, memory[2])
    of_classes = torch.zeros(rows, positions, dtype=dtype)  # a kernel may add to it
    over = replace(
        part,
        logits=logits,
        gradient=None if visit.gradient is None else visit.gradient[b, :, p],
        sample_weight=weight.contiguous(),
        losses=of_classes,
    )
    looked_up = calls.classes.looked_up
    if part.soft and not calls.classes.few:
        looked_up = tuple(range(len(calls.classes.costs)))
    total += _run_block(calls.classes, over, dtype, started, ALL_ROWS, 0.0, looked_up, further)
    if visit.losses is not None:
        both = of_classes if losses is None else of_classes + losses
        visit.losses[b, p] = visit.losses[b, p] + both if started else both
    return total


def _product(weights: Tensor, costs: CostMatrix, transposed: bool, memory: Tensor) -> Tensor:
    """weights·D or weights·Dᵀ, rows without gaps, in this memory if it has a kernel."""
    square = costs.num_classes == costs.num_decisions
    out = memory[: weights.numel()].view_as(weights) if square else None
    found = products.multiply(costs, weights, transposed, out)
    return multiply(weights, costs, transposed).contiguous() if found is None else found


def _denominator(visit: Visit) -> float:
    """What the mean divides by: the class weights of the rows that count, or how many there are."""
    if visit.soft:
        batch, _, positions = visit.sizes
        return float(batch * positions)
    kept = visit.target != visit.ignore_index
    if visit.weight is None:
        return float(kept.sum())
    truth = visit.target[kept].long()
    return float(visit.weight[truth.clamp(0, len(visit.weight) - 1)].sum())
