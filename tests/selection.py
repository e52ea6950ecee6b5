# SPDX-License-Identifier: BSD-3-Clause
"""Which tests of a product are tried: all that must run, or some of them in turn.

Laws are tested for every loss × engine × dtype. ``pytest --full`` tries that product, less what an
engine may refuse. Without it every loss with its default parameters meets every engine, each time
in the next of the dtypes; a loss with a changed parameter, or a sum, meets the engines in turn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import lossmatrix as lm
from lossmatrix.engines import Engine


@dataclass(frozen=True)
class Case:
    """A test with its parameters."""

    test: str
    loss: lm.Loss | None
    engine: Engine | None
    dtype: object
    rest: str

    @classmethod
    def of(cls, test: str, parameters: Mapping[str, object]) -> Case:
        """A test as pytest calls it."""
        loss, engine = parameters.get("loss"), parameters.get("engine")
        names = sorted(parameters.keys() - {"loss", "engine", "dtype"})
        return cls(
            test,
            loss if isinstance(loss, lm.Loss) else None,
            engine if isinstance(engine, Engine) else None,
            parameters.get("dtype"),
            # without the addresses of functions, so that all processes choose alike
            re.sub(r" at 0x\w+", "", " ".join(str(parameters[name]) for name in names)),
        )

    @property
    def product(self) -> tuple[str, str]:
        """What losses, engines and dtypes are multiplied within."""
        return self.test, self.rest


def in_turn(cases: Sequence[Case]) -> list[bool]:
    """Which of the cases are tried, where not all of them are."""
    dtypes, pairs, engines = (defaultdict[object, dict[object, None]](dict) for _ in range(3))
    for case in cases:
        dtypes[case.product][case.dtype] = None
        pairs[case.product][case.loss, case.engine] = None
        engines[case.product, case.loss][case.engine] = None

    def tried(case: Case) -> bool:
        if case.loss is None:
            return True
        able, kinds = [*engines[case.product, case.loss]], [*dtypes[case.product]]
        turn = crc32(repr(case.product).encode())  # products begin at different places
        turn += [*pairs[case.product]].index((case.loss, case.engine))
        if not is_default(case.loss) and case.engine is not able[turn % len(able)]:
            return False
        return case.dtype is kinds[turn % len(kinds)]

    return [tried(case) for case in cases]


def is_default(loss: lm.Loss) -> bool:
    """Whether a loss is no sum and has the parameters that it has by default."""
    return not hasattr(loss, "parts") and loss == type(loss)()
