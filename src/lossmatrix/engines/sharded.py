# SPDX-License-Identifier: BSD-3-Clause
"""Rows whose classes are sharded over the ranks of a process group: formulas on tensors.

Each rank visits its own classes, and a few numbers a row are gathered from all of them. With the
top class m of a shard, z_s its second largest logit and e_j = exp(z_j − z_s) for j ≠ m, a rank
tells z_m, z_s and rest = Σ_j e_j, of which every rank makes the algebra of the row (DESIGN.md).

A formula a + b p + c log p is told with them, as the sums over j ≠ m of b e_j, of c and of
a + c (z_j − z_s), and as b and c of m: one exchange. Any other formula is summed when p is known,
and its sums are a second exchange. With each goes the sum of h/q that the gradient needs
(``codegen.dual``), so that backward needs none. What was gathered is summed in the order of ranks
on each of them, so that all have the same loss to the last bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce as fold
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from lossmatrix.codegen.affine import Affine, NotAffineError, affine_terms, is_absent
from lossmatrix.codegen.derive import has_margin, over_decisions
from lossmatrix.codegen.dual import Dual, partials, terms_with_slopes
from lossmatrix.costs import CostMatrix
from lossmatrix.engines.reference import BLOCK, DEVICE_BLOCK, Made, Softmax, TensorCells
from lossmatrix.losses import Cells, Loss, Term
from lossmatrix.losses.language import weigh
from lossmatrix.problem import Problem

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


# --- the ranks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shards:
    """How many classes each rank of a group holds."""

    group: ProcessGroup
    sizes: tuple[int, ...]
    rank: int

    @property
    def size(self) -> int:
        """The classes of this rank."""
        return self.sizes[self.rank]

    @property
    def start(self) -> int:
        """The first of them."""
        return sum(self.sizes[: self.rank])

    @property
    def num_classes(self) -> int:
        """C."""
        return sum(self.sizes)

    def gather(self, numbers: Tensor) -> Tensor:
        """The numbers of each rank, (W, …) in the order of ranks."""
        found = numbers.new_empty(len(self.sizes), *numbers.shape)
        if numbers.numel() > 0:
            into = list(found.unbind(0))
            dist.all_gather(into, numbers.contiguous(), group=self.group)  # pyright: ignore
        return found


def columns(costs: CostMatrix, target: Tensor, classes: Tensor) -> Tensor:
    """D[target, classes], (m,) and (c,) → (m, c); rows are made where an entry takes its row."""
    if costs.has_entries:
        return costs.entries(target.unsqueeze(-1), classes)
    return costs.row(target)[:, classes]


# --- which sums there are ------------------------------------------------------------------------

Number = TypeVar("Number", Affine, Dual)
Numbers = list[Tensor]  # (n,) or (W, n) each: so many numbers of a row


@dataclass(frozen=True)
class SoftmaxGroup:
    """The terms of one softmax: those that are sums as they are, and those that are not."""

    plain: tuple[Term, ...]
    others: tuple[Term, ...]

    @property
    def terms(self) -> tuple[Term, ...]:
        """All of them."""
        return self.plain + self.others

    def summands(self, run: Callable[[Term], tuple[Number, ...]]) -> list[Number]:
        """What a class contributes to each sum: to one of the plain terms, and to the others'."""
        found: list[Number] = []
        for term in self.plain:
            (each,) = run(term)
            found = [found[0] + each * term.scale if found else each * term.scale]
        return found + [each for term in self.others for each in run(term)]

    @property
    def has_margin(self) -> bool:
        """Whether its one term adds to the logits."""
        return has_margin(self.terms[0].loss)

    @property
    def count(self) -> int:
        """How many sums there are."""
        return bool(self.plain) + sum(number_of_sums(term.loss) for term in self.others)

    def loss(self, totals: Numbers) -> tuple[Tensor, Numbers]:
        """The loss of the sums, and its slopes along them."""
        value, slopes, start = torch.zeros_like(totals[0]), Numbers(), 0
        if self.plain:
            value, start = value + totals[0], 1
            slopes.append(torch.ones_like(value))
        for term in self.others:
            own = tuple(totals[start : start + number_of_sums(term.loss)])
            start += len(own)
            value = value + term.scale * term.loss.loss(*own)
            slopes += [term.scale * each for each in partials(term.loss, own)]
        return value, slopes

    @property
    def affine_parts(self) -> list[list[bool]] | None:
        """Which of a, b and c each sum has; None where one is of another form."""
        word = torch.zeros(())
        try:
            summands = self.summands(lambda term: affine_terms(term.loss, word, word))
        except NotAffineError:
            return None
        return [[not is_absent(part) for part in each.parts] for each in summands]


def groups_of(terms: tuple[Term, ...]) -> list[SoftmaxGroup]:
    """Terms by their softmax: each with a margin has its own."""
    own = [term for term in terms if term.scale != 0 and has_margin(term.loss)]
    shared = [term for term in terms if term.scale != 0 and not has_margin(term.loss)]
    groups: list[SoftmaxGroup] = []
    for together in (*([term] for term in own), shared):
        plain = tuple(term for term in together if type(term.loss).loss is Loss.loss)
        others = tuple(term for term in together if term not in plain)
        if together:
            groups.append(SoftmaxGroup(plain, others))
    return groups


def number_of_sums(loss: Loss) -> int:
    """How many sums a formula has; AttributeError where it reads p·D, which no rank knows."""
    words = ("cost", "target", "p", "q", "log_p", "log_q", "error", "top_cost")
    half = torch.full((1, 2), 0.5)
    return len(terms_with_slopes(loss, Cells(**dict.fromkeys(words, half))))


def reads_risk(loss: Loss) -> bool:
    """Whether a formula reads what no rank knows.

    It is run on tensors, not on the symbols of ``codegen.derive``: here it need not be printable.
    """
    if over_decisions(loss):
        return True
    try:
        number_of_sums(loss)
    except AttributeError:
        return True
    return False


# --- a call, in blocks of rows -------------------------------------------------------------------


class ShardedRows:
    """A checked call: its problem has the shape of all logits, and no logits."""

    def __init__(self, problem: Problem, shards: Shards, factors: Tensor) -> None:
        options, device, dtype = problem.options, problem.given.device, problem.compute_dtype
        self.shards, self.dtype = shards, dtype
        self.groups = groups_of(_in_dtype(problem.bound.terms, dtype))
        target = problem.target.reshape(-1)
        self.counts = target != options.ignore_index
        self.target = torch.where(self.counts, target, 0).long()
        if options.label_smoothing == 0:  # what weighs 0 counts for nothing, whatever it holds
            self.counts = self.counts & (factors != 0)
        if problem.sample_weight is not None:
            self.counts = self.counts & (problem.sample_weight.reshape(-1) != 0)
        self.classes = torch.arange(shards.start, shards.start + shards.size, device=device)
        self.smoothing: Smoothing | None = None
        if options.label_smoothing > 0:
            self.smoothing = Smoothing(options.label_smoothing, options.weight, self)

    def blocks(self) -> Iterator[slice]:
        """All rows, a few at a time."""
        most = BLOCK if self.classes.device.type == "cpu" else DEVICE_BLOCK
        step, count = max(1, most // self.shards.num_classes), len(self.target)
        return (slice(start, start + step) for start in range(0, count, step))

    def visit(self, logits: Tensor, numbers: Callable[[Block], Numbers]) -> Tensor:
        """A few numbers of every row, (n, K), block by block."""
        blocks = [torch.stack(numbers(Block(self, logits, rows)), -1) for rows in self.blocks()]
        return torch.cat(blocks)

    def losses(self, logits: Tensor, with_slopes: bool) -> tuple[Tensor, Tensor | None]:
        """The losses of all rows (n,), and their slopes along this rank's logits (n, C_r)."""
        if len(logits) == 0:
            return logits.new_zeros(0, dtype=self.dtype), torch.zeros_like(logits, dtype=self.dtype)
        states = [GroupState(group) for group in self.groups]
        first = self.visit(logits, lambda block: [n for s in states for n in s.first(block)])
        gathered = iter(self.shards.gather(first).unbind(-1))
        for state in states:
            state.merge(gathered, self.shards.rank)
        late = [state for state in states if not state.totals]
        if late:
            second = self.visit(logits, lambda block: [n for s in late for n in s.second(block)])
            sums = iter(self.shards.gather(second).sum(0).unbind(-1))
            for state in late:
                state.finish(sums)
        losses = torch.stack([state.loss() for state in states]).sum(0)
        mass = None if self.smoothing is None else self.smoothing.mass
        slopes = None
        if with_slopes:
            slopes = torch.empty_like(logits, dtype=self.dtype)
            for rows in self.blocks():
                block = Block(self, logits, rows)
                slopes[rows] = fold(operator.add, [state.slopes(block) for state in states])
                slopes[rows] *= self.counts[rows].unsqueeze(-1)
            slopes = slopes if mass is None else slopes * mass.unsqueeze(-1)
        return losses if mass is None else losses * mass, slopes


def _in_dtype(terms: tuple[Term, ...], dtype: torch.dtype) -> tuple[Term, ...]:
    """The same terms with costs of this dtype; those that share a matrix still do."""
    made = {id(t.costs): t.costs.to(dtype=dtype) for t in terms if t.costs is not None}
    return tuple(replace(term, costs=made.get(id(term.costs))) for term in terms)


class Smoothing:
    """Shares of all classes in the truth of a row: own at its class, and spread on each."""

    def __init__(self, smoothing: float, weight: Tensor | None, call: ShardedRows) -> None:
        C = call.shards.num_classes
        each = torch.ones(C, dtype=call.dtype, device=call.classes.device)
        if weight is not None:
            each = weight.to(call.dtype)
        self.spread = each * (smoothing / C)  # (C,)
        own = (1 - smoothing) * each[call.target]
        self.mass = own + self.spread.sum()  # (n,)
        self.per_mass = 1.0 / torch.where(self.mass == 0, 1.0, self.mass)
        self.own = own * self.per_mass
        self.expected: dict[int, Tensor] = {}

    def costs(self, costs: CostMatrix) -> Tensor:
        """What all rows have in common, Σ_i spread_i D[i, ·], (C,)."""
        if id(costs) not in self.expected:
            self.expected[id(costs)] = costs.expected(self.spread)
        return self.expected[id(costs)]


class Block:
    """Some of the rows: this rank's logits, targets and costs, (m, C_r) each."""

    def __init__(self, call: ShardedRows, logits: Tensor, rows: slice) -> None:
        self.call, self.rows = call, rows
        # rows that do not count may hold anything
        self.logits = logits[rows].to(call.dtype)
        self.logits = torch.where(call.counts[rows].unsqueeze(-1), self.logits, 0.0)
        is_truth = call.target[rows].unsqueeze(-1) == call.classes
        self.target = is_truth.to(call.dtype)
        smoothing = call.smoothing
        if smoothing is not None:
            own, per_mass = (t[rows].unsqueeze(-1) for t in (smoothing.own, smoothing.per_mass))
            self.target = self.target * own + smoothing.spread[call.classes] * per_mass
        self._costs: dict[int, Tensor] = {}

    def cost(self, term: Term) -> Tensor:
        """The costs of a term; 0 where it has none."""
        if term.costs is None:
            return self.logits.new_zeros(())
        if id(term.costs) not in self._costs:
            self._costs[id(term.costs)] = self._columns(term.costs)
        return self._costs[id(term.costs)]

    def _columns(self, costs: CostMatrix) -> Tensor:
        call, rows = self.call, self.rows
        found = columns(costs, call.target[rows], call.classes).to(call.dtype)
        smoothing = call.smoothing
        if smoothing is None:
            return found
        common = smoothing.costs(costs)[call.classes] * smoothing.per_mass[rows].unsqueeze(-1)
        return found * smoothing.own[rows].unsqueeze(-1) + common

    def margin(self, group: SoftmaxGroup) -> Tensor | None:
        """What the term of a group adds to the logits, if it does."""
        if not group.has_margin:
            return None
        (term,) = group.terms
        margin = term.loss.margin(self.cost(term), self.target)
        return None if margin is None else margin.expand_as(self.logits)


class GroupState:
    """What is known of a softmax and its sums: at first of a shard, then of all classes."""

    def __init__(self, group: SoftmaxGroup) -> None:
        self.group, self.parts = group, group.affine_parts
        self.totals, self.sums_off_top, self.slopes_at_top = Numbers(), Numbers(), Numbers()
        self.top_costs: dict[int, Tensor] = {}

    def first(self, block: Block) -> Numbers:
        """The top, the second and the rest of this shard; and sums, or what the top costs."""
        shard = Shard(block.logits, block.margin(self.group))
        numbers = shard.numbers
        if self.parts is None:
            priced = (term for term in self.group.terms if term.costs is not None)
            return numbers + [shard.at_top(block.cost(term)) for term in priced]
        summands = self.group.summands(
            lambda term: affine_terms(term.loss, block.cost(term), block.target)
        )
        for parts, summand in zip(self.parts, summands, strict=True):
            numbers += shard.sums(parts, summand)
        return numbers

    def merge(self, gathered: Iterator[Tensor], rank: int) -> None:
        """The softmax of all classes; and the sums, where all is known of them."""
        self.softmax = softmax = MergedSoftmax(gathered, rank, self.group.has_margin)
        if self.parts is None:
            for term in self.group.terms:
                if term.costs is not None:
                    self.top_costs[id(term)] = softmax.of_winner(next(gathered))
            return
        for has_constant, has_p, has_log_p in self.parts:
            total, off_top, at_top = softmax.sums(has_constant, has_p, has_log_p, gathered)
            self.totals.append(total)
            self.sums_off_top.append(off_top)
            self.slopes_at_top.append(at_top)

    def second(self, block: Block) -> Numbers:
        """The sums of this shard, of the terms and of h/q off the top; and h of the top."""
        softmax, numbers = self._softmax(block), Numbers()
        for summand in self._with_slopes(block, softmax):
            at_top = torch.where(softmax.is_top, summand.slope, 0.0)
            off_top = torch.where(softmax.is_top, 0.0, summand.slope / softmax.q)
            numbers += [each.sum(-1) for each in (summand.value, off_top, at_top)]
        return numbers

    def finish(self, sums: Iterator[Tensor]) -> None:
        """What was summed over all ranks."""
        for _ in range(self.group.count):
            self.totals.append(next(sums))
            self.sums_off_top.append(next(sums))
            self.slopes_at_top.append(next(sums))

    def loss(self) -> Tensor:
        """The loss of all rows, (n,)."""
        value, self.factors = self.group.loss(self.totals)
        return value

    def slopes(self, block: Block) -> Tensor:
        """The gradient of a block's logits, (m, C_r), as in ``codegen.dual``."""
        softmax = self._softmax(block)
        factors = [factor[block.rows].unsqueeze(-1) for factor in self.factors]

        def weighed(numbers: Sequence[Tensor]) -> Tensor:
            return fold(operator.add, map(operator.mul, factors, numbers))

        off_top, at_top = (
            weighed([each[block.rows].unsqueeze(-1) for each in numbers])
            for numbers in (self.sums_off_top, self.slopes_at_top)
        )
        h = weighed([each.slope for each in self._with_slopes(block, softmax)])
        own = torch.where(
            softmax.is_top, h, h / softmax.q - softmax.others / softmax.total * at_top
        )
        return own - softmax.p * off_top

    def _softmax(self, block: Block) -> ShardedSoftmax:
        return ShardedSoftmax(block.logits, block.margin(self.group), self.softmax, block.rows)

    def _with_slopes(self, block: Block, softmax: ShardedSoftmax) -> list[Dual]:
        def run(term: Term) -> tuple[Dual, ...]:
            cell = TensorCells(softmax, block.target, block.cost(term), None)
            top_cost = self.top_costs.get(id(term))
            if top_cost is not None:
                cell.made["top_cost"] = top_cost[block.rows].unsqueeze(-1)
            return terms_with_slopes(term.loss, cell)

        return self.group.summands(run)


# --- a softmax in shards -------------------------------------------------------------------------


def with_margin(z: Tensor, margin: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The logits after their margin, less an origin among them that is told beside them.

    Beside logits of 10⁴ a margin would be rounded; beside what they differ by it is not.
    """
    if margin is None:
        return z, None
    second = z.scatter(-1, z.argmax(-1, keepdim=True), -torch.inf).amax(-1)
    origin = torch.where(second == -torch.inf, 0.0, second)
    return (z - origin.unsqueeze(-1)) + margin, origin


class Shard:
    """The top of a shard of a row, the second, and the sum of the others relative to that."""

    def __init__(self, z: Tensor, margin: Tensor | None) -> None:
        moved, origin = with_margin(z, margin)
        self.place = moved.argmax(-1, keepdim=True)
        others = moved.scatter(-1, self.place, -torch.inf)
        second = others.amax(-1)
        masked = second == -torch.inf  # all others are, or there are none
        self.above = others - torch.where(masked, 0.0, second).unsqueeze(-1)
        self.exponentials = self.above.exp()
        self.numbers = [self.at_top(z), second, self.exponentials.sum(-1)]
        if margin is not None and origin is not None:
            self.numbers = [self.numbers[0], origin, self.numbers[2], self.at_top(margin), second]

    def at_top(self, numbers: Tensor) -> Tensor:
        """A number of the top class, (m,)."""
        return numbers.expand_as(self.above).gather(-1, self.place).squeeze(-1)

    def sums(self, parts: list[bool], summand: Affine) -> Numbers:
        """What is told of a sum of a + b p + c log p; in the order in which it is read."""
        has_constant, has_p, has_log_p = parts
        a, b, c = (
            torch.as_tensor(part).to(self.above).expand_as(self.above) for part in summand.parts
        )
        numbers, off_top = Numbers(), c.scatter(-1, self.place, 0.0)
        if has_constant or has_log_p:
            numbers.append((a + weigh(off_top, self.above)).sum(-1))
        if has_p:
            numbers += [(b * self.exponentials).sum(-1), self.at_top(b)]
        if has_log_p:
            numbers += [off_top.sum(-1), self.at_top(c)]
        return numbers


class MergedSoftmax(Softmax):
    """Of all classes, what every rank knows: (n,) each, and (W, n) of the shards.

    A logit is told as two numbers, itself and its margin, or an origin and what is above it.
    """

    def __init__(self, gathered: Iterator[Tensor], rank: int, has_margin: bool) -> None:
        self.made: dict[str, Tensor] = {}
        tops, seconds, rests = (next(gathered) for _ in range(3))
        margins, aboves = (
            (next(gathered), next(gathered)) if has_margin else (torch.zeros_like(tops),) * 2
        )
        self.winner = (tops + margins).argmax(0, keepdim=True)
        self.is_winner = torch.zeros_like(tops, dtype=torch.bool).scatter(0, self.winner, True)
        self.is_here = self.is_winner[rank]
        second = torch.where(self.is_winner, seconds, tops)
        above = torch.where(self.is_winner, aboves, margins)
        place = (second + above).argmax(0, keepdim=True)
        alone = (second + above).gather(0, place) == -torch.inf  # one class is left
        place = torch.where(alone, self.winner, place)
        second, above = (
            torch.where(alone, of_top, of_second).gather(0, place)
            for of_top, of_second in ((tops, second), (margins, above))
        )
        self.second, self.second_margin = second.squeeze(0), above.squeeze(0)
        leads = (tops - second) + (margins - above)
        self.tops = torch.where(self.is_winner, -torch.inf, leads)
        self.shift = (seconds - second) + (aboves - above)
        total = (self.tops.exp() + rests * self.shift.exp()).sum(0)
        alone = total == 0
        self.total = total.masked_fill(alone, 1.0)
        self.log_total = self.total.log()
        self.lead = self.of_winner(leads)
        odds = (self.log_total - self.lead).masked_fill(alone, -torch.inf)
        top = self.of_winner(tops)
        self.odds = odds + (top - top)  # an infinite top makes NaN of all
        self.log_p_top = torch.nn.functional.logsigmoid(-self.odds)
        self.log_q_top = torch.nn.functional.logsigmoid(self.odds)

    def of_winner(self, numbers: Tensor) -> Tensor:
        """What the rank of the top class has told, (W, n) → (n,)."""
        return numbers.gather(0, self.winner).squeeze(0)

    def sums(
        self, has_constant: bool, has_p: bool, has_log_p: bool, gathered: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Σ (a + b p + c log p), Σ h/q off the top and h at it, of what each ``Shard`` has told.

        Along log(p/q) the slope h of b p is b p q, and that of c log p is c q.
        """
        total = off_top = at_top = torch.zeros_like(self.second)
        share = self.common.exp()
        if has_constant or has_log_p:
            total = total + next(gathered).sum(0)
        if has_p:
            rest, of_top = next(gathered), next(gathered)
            p = self.log_p_top.exp()
            off_top = (rest * self.shift.exp() + of_top * self.tops.exp()).sum(0) * share
            at_top = self.of_winner(of_top) * p
            total = total + off_top + at_top
        if has_log_p:
            rest, of_top = next(gathered), next(gathered)
            others = torch.where(self.is_winner, 0.0, of_top)
            logs = weigh(rest, self.shift + self.common) + weigh(others, self.tops + self.common)
            total = total + logs.sum(0) + weigh(self.of_winner(of_top), self.log_p_top)
            off_top = off_top + (rest + others).sum(0)
            at_top = at_top + self.of_winner(of_top)
        return total, off_top, at_top * self.log_q_top.exp()


class ShardedSoftmax(Softmax):
    """The classes of this rank, for some of the rows, in the softmax of all classes."""

    def __init__(
        self, z: Tensor, margin: Tensor | None, merged: MergedSoftmax, rows: slice
    ) -> None:
        self.logits, self.margin, self.made = z, margin, dict[str, Tensor]()
        self.second_margin = merged.second_margin[rows].unsqueeze(-1)
        names = ("second", "total", "log_total", "lead", "odds", "log_p_top", "log_q_top")
        for name in names:
            setattr(self, name, getattr(merged, name)[rows].unsqueeze(-1))
        self.top = with_margin(z, margin)[0].argmax(-1, keepdim=True)
        place = torch.arange(z.shape[-1], device=z.device)
        self.is_top = (place == self.top) & merged.is_here[rows].unsqueeze(-1)
        self.others = self.centred.masked_fill(self.is_top, -torch.inf).exp()

    @Made
    def centred(self) -> Tensor:
        """The logits less the second largest."""
        centred = self.logits - self.second
        return centred if self.margin is None else centred + (self.margin - self.second_margin)

    @Made
    def p(self) -> Tensor:
        """p."""
        return torch.where(self.is_top, self.log_p_top.exp(), self.p_others)

    @Made
    def q(self) -> Tensor:
        """1 − p."""
        return torch.where(self.is_top, self.log_q_top.exp(), 1.0 - self.p_others)

    @Made
    def log_p(self) -> Tensor:
        """log p."""
        return torch.where(self.is_top, self.log_p_top, self.centred + self.common)

    @Made
    def log_q(self) -> Tensor:
        """log(1 − p)."""
        return torch.where(self.is_top, self.log_q_top, (-self.p_others).log1p())


class LossesOfShards(torch.autograd.Function):
    """The losses of all rows; the gradient of this rank's logits is made with them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: ShardedRows) -> Tensor:  # noqa: D102
        losses, slopes = call.losses(logits, ctx.needs_input_grad[0])
        ctx.save_for_backward(slopes)
        ctx.dtype = logits.dtype
        return losses

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None]:
        (upstream,), (slopes,) = grad_outputs, ctx.saved_tensors
        return (slopes * upstream.unsqueeze(-1)).to(ctx.dtype), None
