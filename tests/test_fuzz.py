# SPDX-License-Identifier: BSD-3-Clause
"""Random calls have the exact answer; ``make nightly`` tries 20,000 of them."""

from __future__ import annotations

import dataclasses

import fuzz
import pytest


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
