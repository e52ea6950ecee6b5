# SPDX-License-Identifier: BSD-3-Clause
"""What must hold of an installed package, with or without a compiler; ``make wheel`` runs it too.

It needs torch and pytest only, and neither sources nor a compiler. ``LOSSMATRIX_EXPECT`` says what
the package was built as: ``kernels`` or ``pure``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import lossmatrix as lm
from lossmatrix.engines.cpu import compile as compiler

EXPECTED = os.environ.get("LOSSMATRIX_EXPECT")
COSTS = lm.Dense([[0.0, 1.0, 2.5], [4.0, 0.0, 2.0], [9.0, 8.0, 0.5]])
LOSSES = [
    lm.CrossEntropy(),
    lm.ExpectedCost(),
    lm.CrossEntropy() + lm.DecisionScore(),
    lm.CrossEntropy() + 0.5 * lm.Unlikelihood(),
    lm.CostSensitiveCrossEntropy(),
]


@dataclass(frozen=True)
class Mine(lm.Loss):
    """Σ_j d_j p_j³, which no package ships."""

    decides, convex, proper, linear_in_costs = None, False, False, True

    def term(self, cell: lm.Cells) -> torch.Tensor:
        return cell.cost * cell.p * cell.p * cell.p


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits in float32 that ask for a gradient, and class indices."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(17, 3, generator=generator)
    return logits.requires_grad_(), torch.randint(3, (17,), generator=generator)


@pytest.mark.skipif(EXPECTED is None, reason="this is a checkout: make wheel installs a package")
def test_it_is_the_package_that_was_built_and_installed() -> None:
    assert "site-packages" in Path(lm.__file__).parts
    assert (compiler.shipped() is not None) is (EXPECTED == "kernels")
    assert (Path(lm.__file__).parent / "py.typed").exists()


@pytest.mark.skipif(EXPECTED != "kernels", reason="only a wheel for a platform has kernels")
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_common_losses_have_kernels_without_a_compiler(
    loss: lm.Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    logits, target = batch()
    value = lm.Criterion(loss, COSTS, engine="native")(logits, target)
    exact = lm.Criterion(loss, COSTS, engine="reference")(logits.double(), target)
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
    (ours,), (theirs,) = (torch.autograd.grad(each, logits) for each in (value, exact))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [*LOSSES, Mine()], ids=repr)
def test_every_loss_trains(loss: lm.Loss) -> None:
    logits, target = batch()
    value = lm.Criterion(loss, COSTS)(logits, target)
    value.backward()
    exact = lm.Criterion(loss, COSTS, engine="reference")(logits.detach().double(), target)
    torch.testing.assert_close(value.detach().double(), exact, rtol=1e-6, atol=0)
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_a_loss_without_a_kernel_says_why_and_what_runs_instead(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("LOSSMATRIX_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    compiler.forget()
    logits, _ = batch()
    explained = lm.explain(lm.Criterion(Mine(), COSTS), logits)
    compiler.forget()
    assert "engine: reference" in explained
    assert "there is no C++ compiler" in explained
    assert "Mine has no kernel of its own" in capfd.readouterr().err


def test_decisions_and_metrics_need_nothing_else() -> None:
    probs, target = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05]]), torch.tensor([2, 0])
    decision = lm.decide(probs, COSTS)
    risk = probs @ COSTS.to_dense().to(probs.dtype)
    assert decision.tolist() == risk.argmin(1).tolist()
    paid = [COSTS.entry(int(i), int(j)) for i, j in zip(target, decision, strict=True)]
    assert lm.average_cost(decision, target, COSTS) == pytest.approx(sum(paid) / 2)
