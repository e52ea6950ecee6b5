# SPDX-License-Identifier: BSD-3-Clause
"""`Sparse`: one cost for every mistake, and exceptions."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.facts import RowFacts
from lossmatrix.costs.frames import Frame, rows_of
from lossmatrix.costs.labels import find_label, make_labels
from lossmatrix.costs.sums import sum_after, sum_before


class Sparse(CostMatrix):
    """D[i, j] = default for i ≠ j and 0 for i = j, except where (truth, decision, cost) says else.

    Exceptions may be a DataFrame with columns of these names.
    expected is O(C + number of exceptions). An infinite cost forbids a decision. Raises ValueError
    for an unknown name, a pair given twice and a cost that is no number.

    >>> costs = lm.Sparse(["cat", "lynx", "truck"], [("truck", "cat", 9)], default=1)
    >>> costs.entry("truck", "cat"), costs.entry("cat", "truck")
    (9.0, 1.0)
    >>> costs.expected(torch.tensor([0.5, 0.25, 0.25]))
    tensor([2.5000, 0.7500, 0.7500])
    """

    def __init__(
        self,
        classes: int | Sequence[str],
        exceptions: Iterable[tuple[int | str, int | str, float]] | Frame,
        default: float = 1.0,
    ) -> None:
        names = make_labels(classes, "class")
        position: dict[str, int] = {}

        def find(label: int | str, what: str) -> int:
            if isinstance(label, str):
                if not position:  # many names are looked up at once
                    position.update(zip(names, range(len(names)), strict=True))
                label = position.get(label, label)
            return find_label(names, label, what)

        pairs: dict[tuple[int, int], float] = {}
        for truth, decision, cost in rows_of(exceptions, ("truth", "decision", "cost")):
            pair = (find(truth, "class"), find(decision, "decision"))
            if pair in pairs:
                raise ValueError(f"the pair (truth {truth!r}, decision {decision!r}) comes twice.")
            if not -torch.inf < cost <= torch.inf:
                raise ValueError(f"the cost of deciding {decision!r} for {truth!r} is {cost}.")
            pairs[pair] = cost
        if not -torch.inf < default < torch.inf:
            raise ValueError(f"default must be a finite number, got {default}.")
        ordered = sorted(pairs)
        index = torch.tensor(ordered, dtype=torch.int64).reshape(-1, 2)
        truth, decision = index[:, 0].contiguous(), index[:, 1].contiguous()
        C = len(names)
        tables = {
            "default": torch.tensor([default], dtype=torch.float64),
            "cost": torch.tensor([pairs[pair] for pair in ordered], dtype=torch.float64),
            "truth": truth,
            "decision": decision,
            "per_truth": truth.bincount(minlength=C),
            "per_decision": decision.bincount(minlength=C),
            "by_decision": decision.argsort(stable=True),
        }
        super().__init__(names, names, tables)
        self._most = int(tables["per_truth"].max())

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        tables = self._tables
        rows = tables["default"] * ~self._is_truth(target)
        if self._most == 0:
            return rows
        # The exceptions of a row lie together: read as many as the longest row has, and write those
        # beyond its own into one more column that is dropped.
        count = tables["per_truth"]
        slot = torch.arange(self._most, device=target.device)
        place = ((count.cumsum(0) - count)[target].unsqueeze(-1) + slot) % len(tables["cost"])
        other = slot >= count[target].unsqueeze(-1)
        column = tables["decision"][place].masked_fill(other, self.num_decisions)
        rows = torch.nn.functional.pad(rows, (0, 1))
        return rows.scatter(-1, column, tables["cost"][place])[..., :-1]

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        tables = self._tables
        usual = tables["default"] * (i != j)
        if self._most == 0:
            return usual
        pairs = tables["truth"] * self.num_decisions + tables["decision"]  # which are sorted
        pair = i * self.num_decisions + j
        place = torch.searchsorted(pairs, pair) % len(pairs)
        return torch.where(pairs[place] == pair, tables["cost"][place], usual)

    def _diagonal(self) -> Tensor:
        truth, cost = self._tables["truth"], self._tables["cost"]
        right = truth == self._tables["decision"]
        return cost.new_zeros(self.num_classes).index_put((truth[right],), cost[right])

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        tables, p = self._tables, weights.double()
        sums = tables["default"] * (sum_before(p)[..., :-1] + sum_after(p)[..., 1:])
        usual = tables["default"] * (tables["truth"] != tables["decision"])
        change, source, count = tables["cost"] - usual, tables["truth"], tables["per_decision"]
        if transposed:
            source, count = tables["decision"], tables["per_truth"]
        else:
            order = tables["by_decision"]
            change, source = change[order], source[order]
        mass = p.index_select(-1, source)
        # A forbidden decision counts where its truth has any weight: 0 · inf is 0 here.
        added = torch.where(mass == 0, 0.0, mass * change).movedim(-1, 0)
        added = torch.segment_reduce(added, "sum", lengths=count, axis=0, unsafe=True, initial=0)
        return (sums + added.movedim(0, -1)).to(weights.dtype)

    @cached_property
    def row_facts(self) -> RowFacts:
        """The default, the diagonal and the exceptions."""
        C, truth, decision = self.num_classes, self._tables["truth"], self._tables["decision"]
        default, cost = self._tables["default"].double(), self._tables["cost"].double()
        off = truth != decision
        zeros = torch.zeros(C, dtype=torch.float64, device=cost.device)
        diagonal = zeros.index_put((truth[~off],), cost[~off])
        truth, cost = truth[off], cost[off]
        usual = C - 1 - truth.bincount(minlength=C)  # how many entries of the row are the default
        low, high = (
            torch.where(usual > 0, default, bound).scatter_reduce(0, truth, cost, how)
            for bound, how in ((torch.inf, "amin"), (-torch.inf, "amax"))
        )
        minimum, maximum = torch.minimum(low, diagonal), torch.maximum(high, diagonal)
        ties = (diagonal == minimum) + usual * (minimum == default)
        ties = ties.double().index_add(0, truth, (cost == minimum[truth]).double())
        total = (diagonal + usual * default).index_add(0, truth, cost)
        return RowFacts(minimum, maximum, total, ties)

    _remedy = "give default and exceptions in another unit"

    def _geometry(self) -> tuple[bool | None, bool | None]:
        truth, decision, cost = (self._tables[name] for name in ("truth", "decision", "cost"))
        real = cost != self._tables["default"] * (truth != decision)
        pair, mirror = (i * self.num_classes + j for i, j in ((truth, decision), (decision, truth)))
        pair, mirror, cost = pair[real], mirror[real], cost[real]
        order = mirror.argsort()
        return torch.equal(pair, mirror[order]) and torch.equal(cost, cost[order]), None
