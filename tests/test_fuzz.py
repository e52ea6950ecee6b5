# SPDX-License-Identifier: BSD-3-Clause
"""Random calls have the exact answer; ``make nightly`` tries 20,000 of them."""

from __future__ import annotations

import dataclasses

import fuzz
import pytest
from torch import Tensor

import lossmatrix as lm
from lossmatrix.losses.language import Cells


@pytest.mark.parametrize("first", range(0, 96, 16))
def test_random_calls_are_within_the_error_budget(first: int) -> None:
    found = [fuzz.tried(number) for number in range(first, first + 16)]
    assert [wrong for _, wrong in found if wrong] == []
    assert {kind for kind, _ in found} >= {"native", "reference"}


def test_what_is_off_by_little_is_noticed() -> None:
    noticed = tried = 0
    for number in range(24):
        case = fuzz.case_of(number)
        if case is None or isinstance(case.loss, fuzz.lm.losses.base.Sum):
            continue
        wrong = dataclasses.replace(case, loss=1.02 * case.loss, answer_of=case.loss)
        tried += 1
        noticed += fuzz.check(wrong) is not None
    assert noticed > tried / 2 > 3  # some losses are 0, or nothing counts in them


@dataclasses.dataclass(frozen=True)
class OffBy(lm.Loss):
    """A loss whose value is right, with slopes in which the parts of dear mistakes are off."""

    right: lm.Loss
    share: float

    def term(self, cell: Cells) -> Tensor:
        part = self.right.term(cell)
        assert isinstance(part, Tensor)
        return part + self.share * (cell.cost > 1) * (part - part.detach())


@pytest.mark.parametrize("share", [1e-4, -2.0], ids=["a coefficient", "a sign"])
@pytest.mark.parametrize("right", [lm.ExpectedCost(), lm.PairWeightedCrossEntropy()])
def test_a_part_of_a_slope_that_is_off_is_noticed(right: lm.Loss, share: float) -> None:
    wrong = [
        dataclasses.replace(case, loss=loss, answer_of=right, engine="reference")
        for case in map(fuzz.case_of, range(80))
        if case is not None
        and bool(case.logits.isfinite().all())
        and case.costs.num_decisions == case.costs.num_classes
        for loss in (OffBy(right, 0.0), OffBy(right, share))
    ]
    found = [fuzz.check(case) for case in wrong]
    assert not any(found[::2])
    assert sum("slope" in (each or "") for each in found[1::2]) > len(found) / 12 > 10
