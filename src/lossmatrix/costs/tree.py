# SPDX-License-Identifier: BSD-3-Clause
"""`Tree`: classes are nodes of a hierarchy; a mistake costs as much as its common ancestor."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from lossmatrix.costs.base import CostMatrix
from lossmatrix.costs.facts import RowFacts
from lossmatrix.costs.frames import Frame, is_missing, rows_of
from lossmatrix.costs.labels import abbreviate, make_labels
from lossmatrix.costs.sums import sum_after, sum_before

MOST_STEPS = 50_000_000  # on the way to all classes, which take some gigabyte
Nested: TypeAlias = "Mapping[str, Nested] | Sequence[str]"


def _paths_of(given: Sequence[Sequence[str]] | Frame) -> Sequence[Sequence[str]]:
    """Paths as they are; those of a frame are without the names that it lacks."""
    rows: Sequence[Sequence[str]] = rows_of(given)
    if rows is given:
        return rows
    return [[name for name in row if not is_missing(name)] for row in rows]


class Tree(CostMatrix):
    """D[i, j] = height of the lowest common ancestor of i and j, or the cost of that height.

    The height of a node is the longest way down to a leaf, as in Deng et al. 2010 and Bertinetto et
    al. 2020. `paths` lead from the top to each class, whose name is the last step. A class may be a
    group of others, a genus among its species: it is then their common ancestor, so that a genus
    taken for one of its species, or a species for its genus, costs what two species taken for one
    another at that node cost, and itself 0. `level_costs` are the costs of ancestors of height 1,
    2, … in place of the heights; they must not fall. A DataFrame has a row for each path.
    expected is O(number of nodes), a sum of what is never negative: E_j = Σ over the nodes c from j
    up of (cost of c's parent − cost of c) · (mass outside c). Raises ValueError for paths that are
    none, a name used twice and level costs that do not fit.

    >>> costs = lm.Tree([("animal", "cat"), ("animal", "lynx"), ("vehicle", "truck")])
    >>> costs.entry("cat", "lynx"), costs.entry("cat", "truck")
    (1.0, 2.0)
    >>> costs.expected(torch.tensor([0.5, 0.25, 0.25]))
    tensor([0.7500, 1.0000, 1.5000])
    >>> genus = lm.Tree([("felis",), ("felis", "catus"), ("felis", "silvestris"), ("canis",)])
    >>> genus.entry("felis", "catus"), genus.entry("felis", "felis"), genus.entry("felis", "canis")
    (1.0, 0.0, 2.0)
    """

    def __init__(
        self, paths: Sequence[Sequence[str]] | Frame, level_costs: Sequence[float] | None = None
    ) -> None:
        paths = _paths_of(paths)
        for number, path in enumerate(paths):
            if isinstance(path, str) or not path:
                raise ValueError(
                    f"path {number} must be the names from the top to the class, got {path!r}: "
                    f'for "a/b/c" pass "a/b/c".split("/").'
                )
        if (steps := sum(map(len, paths))) > MOST_STEPS:
            raise too_long(len(paths), steps)
        names = make_labels([path[-1] for path in paths], "class")
        nodes: dict[tuple[int, str | None], int] = {}
        trails: list[list[int]] = []  # the nodes from the root, 0, down to each class
        for path in paths:
            trail = [0]
            for name in path:
                trail.append(nodes.setdefault((trail[-1], name), len(nodes) + 1))
            trails.append(trail)
        groups = {above for above, _ in nodes}
        for trail in trails:
            if trail[-1] in groups:  # a class that is a group is a leaf of its own in it
                trail.append(nodes.setdefault((trail[-1], None), len(nodes) + 1))
        depth, parent, height, start, stop = ({0: 0} for _ in range(5))
        order = sorted(range(len(paths)), key=trails.__getitem__)  # depth first
        for place, index in enumerate(order):
            trail = trails[index]
            for level, node in enumerate(trail):
                depth[node], parent[node] = level, trail[max(level - 1, 0)]
                height[node] = max(height.get(node, 0), len(trail) - 1 - level)
                start.setdefault(node, place)
                stop[node] = place + 1
        children = Counter(parent[node] for node in parent if node)
        self.height = max((height[node] for node, n in children.items() if n > 1), default=0)
        given = range(1, self.height + 1) if level_costs is None else level_costs
        self.level_costs = tuple(map(float, given))
        price = (0.0, *self.level_costs)
        rising = all(low <= high < math.inf for low, high in pairwise(price))
        if len(self.level_costs) != self.height or not rising:
            raise ValueError(
                f"level_costs must be {self.height} numbers, one for each height from 1 up, none "
                f"below 0 or below the one before; got {level_costs}."
            )
        # Nodes lie by depth. Above the top fork nobody meets, so its price will do.
        by_depth = sorted(depth, key=depth.__getitem__)
        place_of = {node: place for place, node in enumerate(by_depth)}
        sizes = Counter(depth.values())
        self._levels = list(accumulate(sizes[level] for level in range(len(sizes))))
        tables = {
            "cost": torch.tensor(
                [price[min(height[n], self.height)] for n in by_depth], dtype=torch.float64
            ),
            "parent": torch.tensor([place_of[parent[n]] for n in by_depth]),
            "start": torch.tensor([start[n] for n in by_depth]),
            "stop": torch.tensor([stop[n] for n in by_depth]),
            "leaf": torch.tensor([place_of[trail[-1]] for trail in trails]),
            "rank": torch.tensor([start[trail[-1]] for trail in trails]),
            "order": torch.tensor(order),
        }
        super().__init__(names, names, tables)

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[tuple[str, str]] | Frame,
        classes: Sequence[str] | None = None,
        level_costs: Sequence[float] | None = None,
    ) -> Tree:
        """From (child, parent) pairs, or a DataFrame with columns of these names.

        Classes are the leaves, in order of appearance unless given, and those that are given hold
        all leaves, and inner nodes at will. Raises ValueError for a second parent, a cycle, several
        roots, a leaf that is no class and a class that is no node.

        >>> lm.Tree.from_edges([("cat", "animal"), ("animal", "all"), ("car", "all")])
        Tree(2, height=2)
        """
        parent: dict[str, str] = {}
        for edge in rows_of(edges, ("child", "parent")):
            if isinstance(edge, str) or len(edge) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ValueError(
                    f"every edge must be a pair (child, parent), got {edge!r}: of a mapping pass "
                    "its items()."
                )
            child, above = edge
            if parent.setdefault(child, above) != above:
                raise ValueError(f"{child!r} has two parents, {parent[child]!r} and {above!r}.")
        roots = [name for name in dict.fromkeys(parent.values()) if name not in parent]
        if len(roots) != 1:
            why = "there is a cycle" if parent else "there are no edges"
            found = f"{len(roots)} ({abbreviate(roots)})" if roots else f"none: {why}"
            raise ValueError(f"the edges must lead to one root, found {found}.")
        inner = set(parent.values())
        leaves = [name for name in parent if name not in inner]
        if classes is not None and not set(leaves) <= set(classes) <= {*leaves, *inner}:
            odd = sorted({*leaves} - {*classes} | {*classes} - {*leaves, *inner})
            raise ValueError(f"classes and leaves of the tree differ: {abbreviate(odd)}.")
        level = {roots[0]: 0}  # of every name whose way up leads to the root
        for name in parent:
            way: dict[str, None] = {}
            while name not in level:
                if name in way:
                    raise ValueError(f"the edges above {name!r} run in a cycle.")
                way[name] = None
                name = parent[name]
            for place, below in enumerate(reversed(way), level[name] + 1):
                level[below] = place
        ends = leaves if classes is None else classes
        if (steps := sum(level[name] + 1 for name in ends)) > MOST_STEPS:
            raise too_long(len(ends), steps)
        paths: list[list[str]] = []
        for name in ends:
            path = [name]
            while path[-1] in parent:
                path.append(parent[path[-1]])
            paths.append(path[::-1])
        return cls(paths, level_costs)

    @classmethod
    def from_nested(cls, nested: Nested, level_costs: Sequence[float] | None = None) -> Tree:
        """From groups within groups: mappings of groups, lists of classes; `{}` for a class.

        A group that is a class too lists its own name: {"felis": ["felis", "catus"]}. Raises
        ValueError for a group that contains itself.

        >>> lm.Tree.from_nested({"animal": {"pet": ["cat", "dog"], "wild": ["lynx"]}})
        Tree(3, height=2)
        """

        paths: list[tuple[str, ...]] = []
        path: list[str] = []  # names of the groups that are open but the outermost
        steps, opened, rest = 0, [nested], [iter(nested)]
        inside = {id(nested)}
        while opened:
            try:
                part, name = opened[-1], next(rest[-1])
            except StopIteration:  # the group is at its end
                inside.remove(id(opened.pop()))
                del rest[-1], path[-1:]
                continue
            group = part[name] if isinstance(part, Mapping) else ()
            if not group:
                steps += len(path) + 1
                if steps > MOST_STEPS:
                    raise too_long(len(paths) + 1, steps)
                paths.append((*path, name))
                continue
            if id(group) in inside:
                raise ValueError(f"the group {name!r} contains itself: groups must end in classes.")
            inside.add(id(group))
            path.append(name)
            opened.append(group)
            rest.append(iter(group))
        return cls(paths, level_costs)

    @classmethod
    def from_groups(
        cls,
        groups: Sequence[str],
        classes: int | Sequence[str] | None = None,
        within: float = 1.0,
        across: float = 2.0,
    ) -> Tree:
        """From the group of each class: mistakes within a group cost less than across groups.

        >>> lm.Tree.from_groups(["animal", "animal", "vehicle"], across=5).to_dense()
        tensor([[0., 1., 5.],
                [1., 0., 5.],
                [5., 5., 0.]], dtype=torch.float64)
        """
        names = make_labels(len(groups) if classes is None else classes, "class")
        if len(names) != len(groups):
            raise ValueError(f"got {len(groups)} groups for {len(names)} classes.")
        paths = list(zip(groups, names, strict=True))
        levels = (within, across) if len(set(groups)) > 1 else (within,) * (len(names) > 1)
        return cls(paths, levels)

    def _descend(self, top: Tensor, step: Callable[[Tensor, slice], Tensor]) -> Tensor:
        """A value for every class, from the value of the root and a step from parents to nodes."""
        values, above = [top], 0
        for begin, end in pairwise(self._levels):
            parents = self._tables["parent"][begin:end] - above
            values.append(step(values[-1].index_select(-1, parents), slice(begin, end)))
            above = begin
        return torch.cat(values, -1).index_select(-1, self._tables["leaf"])

    def _row(self, target: Tensor, sample: Tensor | None) -> Tensor:
        cost, place = self._tables["cost"], self._tables["rank"][target].unsqueeze(-1)
        holds_truth = (self._tables["start"] <= place) & (place < self._tables["stop"])
        return self._descend(
            cost[:1].expand(target.shape[0], 1),
            lambda above, nodes: torch.where(holds_truth[:, nodes], cost[nodes], above),
        )

    def _entries(self, i: Tensor, j: Tensor, sample: Tensor | None) -> Tensor:
        start, stop, parent = (self._tables[name] for name in ("start", "stop", "parent"))
        node, place = self._tables["leaf"][i], self._tables["rank"][j]
        for _ in self._levels[1:]:  # up, until the node holds both
            holds = (start[node] <= place) & (place < stop[node])
            node = torch.where(holds, node, parent[node])
        return self._tables["cost"][node]

    def _diagonal(self) -> Tensor:
        return self._tables["cost"][self._tables["leaf"]]

    def _product(self, weights: Tensor, transposed: bool) -> Tensor:
        cost = self._tables["cost"].to(weights.dtype)
        rise = cost[self._tables["parent"]] - cost
        mass = weights.index_select(-1, self._tables["order"])
        before = sum_before(mass).index_select(-1, self._tables["start"])
        outside = before + sum_after(mass).index_select(-1, self._tables["stop"])
        return self._descend(
            torch.zeros_like(weights[..., :1]),
            lambda above, nodes: above + rise[nodes] * outside[..., nodes],
        )

    @cached_property
    def row_facts(self) -> RowFacts:
        """From the root down; nothing costs less than the truth itself."""
        cost, parent = self._tables["cost"].double(), self._tables["parent"]
        size = (self._tables["stop"] - self._tables["start"]).double()
        meets = torch.where(size[parent] > size, cost[parent], 0.0)  # a leaf outside this node
        free = torch.where(cost == 0, size, 0.0)
        maximum = self._descend(meets[:1], lambda above, n: torch.maximum(above, meets[n]))
        ties = self._descend(free[:1], lambda above, n: torch.maximum(above, free[n]))
        total = self.to(dtype=torch.float64).expected(torch.ones_like(ties))
        return RowFacts(torch.zeros_like(ties), maximum, total, ties)

    _remedy = "give level_costs in another unit"

    def _geometry(self) -> tuple[bool | None, bool | None]:
        return True, True

    def _settings(self) -> dict[str, object]:
        return {"height": self.height}


def too_long(classes: int, steps: int) -> ValueError:
    """The refusal of a tree whose paths would fill the memory."""
    return ValueError(
        f"the paths to {classes} classes have {steps} steps or more, over {MOST_STEPS} in all: "
        "leave out levels at which nothing parts."
    )
