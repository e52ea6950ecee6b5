# SPDX-License-Identifier: BSD-3-Clause
"""Random calls against exact answers: losses × kinds × shapes × dtypes × options.

    python tests/fuzz.py --cases 20000 --processes 2

A case is made from its number alone, so that one which fails can be tried again: ``--first N
--cases 1``. The answers are those of ``oracles``, in 60 digits, and the error budget is that of
``test_numerics``, summed over what a reduction adds. A slope may besides be off by a few roundings
of its parts: where equal ones cancel, the rest is no more exact than they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import InvalidOperation
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import lossmatrix as lm
from lossmatrix.engines.cpu import calls


def _oracles() -> Any:
    """The oracles with fewer digits, in a third of the time; others keep theirs."""
    place = Path(__file__).with_name("oracles.py")
    spec = importlib.util.spec_from_file_location("oracles_of_60_digits", place)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    made.DIGITS, made.NOISE = 60, 1e-34
    return made


oracles = _oracles()
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ROUNDINGS = 4  # and one for every option that multiplies


# --- making a case -------------------------------------------------------------------------------


SINGLE = (
    lambda random: lm.CrossEntropy(),
    lambda random: lm.CostSensitiveCrossEntropy(),
    lambda random: lm.SoftTargetCrossEntropy(random.choice([0.25, 1.0, 4.0])),
    lambda random: lm.ExpectedCost(),
    lambda random: lm.Unlikelihood(),
    lambda random: lm.SoftmaxMargin(log=random.random() < 0.5),
    lambda random: lm.CostFocal(random.choice([0.0, 0.5, 1.0, 2.0, 2.5]), random.random() < 0.3),
    lambda random: lm.EnergyScore(),
    lambda random: lm.DecisionScore(random.choice([0.1, 0.3, 2.0])),
    lambda random: lm.EntropicRisk(random.choice([-1.0, 0.5, 1.0, 3.0])),
    lambda random: lm.SimilarityLikelihood(random.choice([0.5, 1.0, 2.0])),
)
SUMS = ((0, 3), (0, 4), (0, 8), (0, 7), (0, 5), (1, 9), (0, 3, 8), (3, 4, 5))  # compiled once each


def loss_of(random: Random) -> lm.Loss:
    """A loss with some hyper-parameter, or a sum of up to three."""
    if random.random() < 0.65:
        return random.choice(SINGLE)(random)
    first, *others = (SINGLE[i](random) for i in random.choice(SUMS))
    loss = random.choice([1.0, 0.5]) * first
    for each in others:
        loss = loss + random.choice([1.0, 0.25, 2.0]) * each
    return loss


def costs_of(random: Random, C: int, more: bool) -> lm.CostMatrix:
    """A matrix of some kind, sometimes transformed, sometimes with more decisions."""

    def number() -> float:
        return random.choice([0.0, 0.5, 1.0, 2.5, 7.0, random.uniform(0.01, 9.0)])

    def table() -> lm.CostMatrix:
        return lm.Dense([[0.0 if i == j else number() for j in range(C)] for i in range(C)])

    def metric() -> lm.CostMatrix:
        x = [random.uniform(-3.0, 3.0) for _ in range(C)]
        return lm.Dense([[abs(a - b) for b in x] for a in x])

    def line() -> lm.CostMatrix:
        places = [random.uniform(-3.0, 3.0) for _ in range(C)] if random.random() < 0.4 else None
        return lm.Ordinal(C, random.choice([0.5, 1.0, 1.5, 2.0]), places)

    def tree() -> lm.CostMatrix:
        paths = [(str(random.randrange(2)), str(random.randrange(2)), str(j)) for j in range(C)]
        return lm.Tree(paths)

    def sparse() -> lm.CostMatrix:
        pairs = [(i, j) for i in range(C) for j in range(C) if i != j]
        chosen = random.sample(pairs, min(len(pairs), 4))
        return lm.Sparse(
            C, [(i, j, number()) for i, j in chosen], default=random.choice([0.0, 1.0])
        )

    def embedded() -> lm.CostMatrix:
        points = torch.tensor([[random.gauss(0, 1) for _ in range(3)] for _ in range(C)])
        return lm.LowRank.squared_distances(points.double())

    kinds = [table, table, metric, line, tree, sparse, embedded, lambda: lm.ZeroOne(C)]
    costs = random.choice(kinds)()
    if random.random() < 0.2:
        costs = costs.scaled(random.choice([0.125, 3.0, 1e4]))
    if random.random() < 0.1:
        costs = costs.regret()
    if more:
        costs = costs.with_abstain(random.uniform(0.1, 2.0))
    return costs


def logit(random: Random, scale: float) -> float:
    return random.choice([random.uniform(-1.0, 1.0), random.gauss(0.0, 1.0), 1.0, 0.0]) * scale


@dataclass
class Case:
    """A call, and what it is made of row by row."""

    number: int
    loss: lm.Loss
    costs: lm.CostMatrix
    dtype: torch.dtype
    engine: str
    narrow: bool  # whether few classes go side by side, or as long rows do
    logits: Tensor  # (C,), (N, C) or (N, C, d1 …), in some order in memory
    target: Tensor
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    answer_of: lm.Loss | None = None  # another loss that is asked for the exact answer

    def __str__(self) -> str:
        options = {
            name: x.tolist() if isinstance(x, Tensor) else x for name, x in self.options.items()
        }
        return (
            f"case {self.number}: {self.loss!r} on {self.costs!r}, {self.engine}, {self.dtype}, "
            f"logits {tuple(self.logits.shape)} target {self.target.dtype} {options}"
        )


def laid_out(random: Random, tensor: Tensor) -> Tensor:
    """The same numbers in another order in memory."""
    how = random.randrange(4)
    if how == 1 and tensor.dim() > 1:
        return tensor.movedim(1, -1).contiguous().movedim(-1, 1)
    if how == 2:
        wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), 99.0, dtype=tensor.dtype)
        wide[..., ::2] = tensor
        return wide[..., ::2]
    if how == 3 and tensor.dim() > 1:
        return tensor.transpose(0, 1).contiguous().transpose(0, 1)
    return tensor


def case_of(number: int) -> Case | None:
    """The case of this number; None where the loss refuses the matrix."""
    random = Random(number)
    C = random.choice([1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6])
    loss = loss_of(random)
    scores = isinstance(loss, lm.DecisionScore)  # other losses see the classes' own decisions
    costs = costs_of(random, C, scores and random.random() < 0.5)
    try:
        loss.bind(costs)
    except ValueError:
        return None
    others = random.choice([(), (1,), (2,), (3,), (2, 2), (1, 2, 1)])
    single = random.random() < 0.1
    shape = (C,) if single else (random.choice([1, 2, 3]), C, *others)
    rows = () if single else (shape[0], *others)
    dtype, scale = random.choice(DTYPES), random.choice([0.1, 1.0, 1.0, 5.0, 30.0, 300.0, 1e4])
    logits = torch.tensor([logit(random, scale) for _ in range(math.prod(shape))]).reshape(shape)
    logits = logits.to(dtype)
    if C > 1 and random.random() < 0.1:
        logits.select(0 if single else 1, random.randrange(C)).fill_(-torch.inf)
    options: dict[str, Any] = {"reduction": random.choice(["none", "mean", "sum"])}
    kind = random.choice(["indices", "indices", "smoothed", "probabilities"])
    y = torch.tensor([random.randrange(C) for _ in range(math.prod(rows))]).reshape(rows)
    if kind == "probabilities":
        masses = torch.tensor([random.choice([0, 1, 2, 5]) for _ in range(math.prod(shape))])
        masses = masses.reshape(shape).double()
        sums = masses.sum(0 if single else 1, keepdim=True)
        target = torch.where(sums > 0, masses / sums, 1 / C).to(dtype)
    else:
        target = y.to(random.choice([torch.int64, torch.int64, torch.int32, torch.uint8]))
        if random.random() < 0.3:
            ignored = random.choice([-100, 255, 0])
            options["ignore_index"] = ignored
            if ignored >= 0 or target.dtype != torch.uint8:
                mask = torch.tensor([random.random() < 0.3 for _ in range(y.numel())])
                target = target.masked_fill(mask.reshape(rows), ignored)
    if kind == "smoothed":
        options["label_smoothing"] = random.choice([0.1, 0.5, 1.0])
    if random.random() < 0.3:
        weights = [random.choice([0.0, 0.5, 1.0, 3.0]) for _ in range(C)]
        options["weight"] = torch.tensor(weights, dtype=torch.float32)
    if random.random() < 0.3:
        weights = [random.choice([0.0, 0.5, 1.0, 2.0]) for _ in range(y.numel())]
        options["sample_weight"] = torch.tensor(weights).reshape(rows)
    if kind == "indices" and number % 8 == 0:  # what reads the row of its own truth alone
        chosen = random.choice([(0,), (1,), (3,), (4,), (5,), (0, 3), (0, 4)])
        first, *others = (SINGLE[i](random) for i in chosen)
        loss = first + 0.5 * others[0] if others else first
        rows_of_costs = torch.tensor(
            [[random.choice([0.0, 0.5, 2.0, 7.0]) for _ in range(C)] for _ in range(y.numel())]
        )
        costs = lm.PerExample(rows_of_costs.to(random.choice([torch.float32, torch.float64])))
    engine, narrow = random.choice(["native", "native", "reference"]), random.random() < 0.5
    logits = laid_out(random, logits)
    return Case(number, loss, costs, dtype, engine, narrow, logits, target, options)


# --- the exact answer ----------------------------------------------------------------------------


def rows_of(case: Case) -> tuple[list[list[float]], list[list[float]], list[float], float]:
    """Logits, masses of the classes, and weights of the rows; and what the mean divides by."""
    options, C = case.options, case.costs.num_classes
    wide = case.logits.detach().double()
    logits = (wide.unsqueeze(0) if wide.dim() == 1 else wide.movedim(1, -1)).reshape(-1, C)
    soft = case.target.shape == case.logits.shape
    weight = options.get("weight", torch.ones(C)).double()
    if soft:
        given = case.target.double()
        given = given.unsqueeze(0) if given.dim() == 1 else given.movedim(1, -1)
        masses, counts = given.reshape(-1, C), torch.ones(len(logits), dtype=torch.bool)
        denominator = float(len(logits))
    else:
        y = case.target.long().reshape(-1)
        counts = y != options.get("ignore_index", -100)
        y = torch.where(counts, y, 0)
        masses = torch.nn.functional.one_hot(y, C).double()
        denominator = weight[y][counts].sum().item()
    epsilon = options.get("label_smoothing", 0.0)
    masses = ((1 - epsilon) * masses + epsilon / C) * weight if epsilon else masses * weight
    own = options.get("sample_weight", torch.ones(len(logits))).double().reshape(-1)
    own = torch.where(counts, own, 0.0)
    return logits.tolist(), masses.tolist(), own.tolist(), denominator


def check(case: Case) -> str | None:
    """What is wrong with the library's answer, or None."""
    logits = case.logits.detach().requires_grad_()
    random = Random(-case.number)
    with patch.object(calls, "MAX_NARROW", calls.MAX_NARROW if case.narrow else 0):
        value = case.loss(logits, case.target, case.costs, engine=case.engine, **case.options)
        upstream = torch.tensor([random.choice([1.0, 0.5, -2.0]) for _ in range(value.numel())])
        upstream = upstream.reshape(value.shape).to(value.dtype)
        (gradient,) = torch.autograd.grad(value, logits, upstream)
    C, reduction = case.costs.num_classes, case.options["reduction"]
    if gradient.dtype != case.dtype or value.dtype != case.dtype:
        return f"dtypes {value.dtype} and {gradient.dtype}"
    z, masses, own, denominator = rows_of(case)
    over = denominator if reduction == "mean" else 1.0
    if over == 0.0:  # as PyTorch: 0 / 0
        return f"{value} where nothing counts" if bool(value.isfinite()) else None
    above = upstream.double().reshape(-1).tolist()
    above = above * len(z) if len(above) == 1 and reduction != "none" else above
    own_costs = isinstance(case.costs, lm.PerExample)
    D = [] if own_costs else case.costs.to_dense().tolist()
    got = gradient.detach().double()
    slopes = (got.unsqueeze(0) if got.dim() == 1 else got.movedim(1, -1)).reshape(-1, C).tolist()
    values = value.detach().double().reshape(-1).tolist()
    eps, rounding, least = oracles.precision(case.dtype)
    roundings = ROUNDINGS + len(case.options)
    total, budget = 0.0, 0.0
    for n, (row, mass, weight) in enumerate(zip(z, masses, own, strict=True)):
        if own_costs:
            D = [case.costs.tables["table"][n].tolist()] * C
        if weight == 0 or not any(mass):
            none = [0.0] * C
            exact = oracles.Answer(0.0, none, 0.0, none, none, none)
        else:
            exact = answer(case.answer_of or case.loss, row, mass, D)
        factor = weight / over
        more = oracles.halves(case.loss, D, sum(mass))
        spread = roundings * eps * abs(factor) * (exact.value_sensitivity + more)
        if reduction == "none":
            wrong = off(values[n], factor * exact.value, spread, rounding, least, case.dtype)
            if wrong:
                return f"value of row {n}: {wrong}"
        if math.isinf(exact.value):  # no slope follows from it
            return None if reduction == "none" or math.isinf(values[0]) else f"value {values[0]}"
        total, budget = total + factor * exact.value, budget + spread
        scale = factor * above[n]
        for k in range(C):
            sensitivity = exact.gradient_sensitivity[k] + exact.gradient_parts[k]
            sensitivity += more * exact.p[k]
            spread = roundings * eps * abs(scale) * sensitivity
            noise = least * max(1.0, abs(scale))
            wrong = off(
                slopes[n][k], scale * exact.gradient[k], spread, rounding, noise, case.dtype
            )
            if wrong:
                return f"slope of row {n} along {k}: {wrong}"
    if reduction != "none":
        budget += 4 * eps * abs(total)
        wrong = off(values[0], total, budget, rounding, least * len(z), case.dtype)
        if wrong:
            return f"value: {wrong}"
    return None


def answer(loss: lm.Loss, z: Sequence[float], masses: Sequence[float], D: list[list[float]]) -> Any:
    """Σ_i mass_i ℓ(z; i), where the mass of one class is a truth."""
    only = [i for i, share in enumerate(masses) if share]
    if len(only) == 1 and sum(masses) == 1.0:
        return oracles.answer(loss, z, only[0], D)
    return oracles.answer_by_truths(loss, z, masses, D)


def off(
    computed: float, exact: float, spread: float, rounding: float, least: float, dtype: torch.dtype
) -> str | None:
    """By how many budgets a number is off, if that is more than one."""
    budget = spread + rounding * abs(exact) + least
    if computed == exact:
        return None
    if abs(exact) + budget > torch.finfo(dtype).max:
        fits = math.isinf(computed) or abs(computed - exact) <= budget
    else:
        fits = abs(computed - exact) <= budget  # false for NaN
    return None if fits else f"{computed} for {exact}, {abs(computed - exact) / budget:.3g} budgets"


# --- running many --------------------------------------------------------------------------------


def tried(number: int) -> tuple[str, str | None]:
    """What was tried, and what is wrong with it."""
    torch.set_num_threads(1)
    case = case_of(number)
    if case is None:
        return "refused", None
    try:
        wrong = check(case)
    except InvalidOperation:  # ∞ − ∞ in the oracle, of classes without probability
        return "no answer", None
    except Exception as error:  # an error is a finding, too
        wrong = f"{type(error).__name__}: {error}"
    return case.engine, None if wrong is None else f"{case}\n    {wrong}"


def main() -> int:
    """Try the cases, print what is wrong, and return how many are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    kinds, findings, started = Counter[str](), 0, time.perf_counter()
    numbers = range(given.first, given.first + given.cases)
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for kind, wrong in pool.imap_unordered(tried, numbers, chunksize=16):
            kinds[kind] += 1
            if wrong is not None:
                findings += 1
                print(wrong, flush=True)
    took = time.perf_counter() - started
    print(f"{dict(kinds)} in {took:.0f} s: {findings} outside the error budget")
    return findings


if __name__ == "__main__":
    sys.exit(min(1, main()))
