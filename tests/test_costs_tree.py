# SPDX-License-Identifier: BSD-3-Clause
"""Trees of any depth, and those that run in circles or fill the memory."""

from __future__ import annotations

import pytest
import torch

import lossmatrix as lm

DEPTH = 100_000


def test_a_tree_may_be_a_hundred_thousand_levels_deep() -> None:
    nested: dict[str, object] = {"last": ["a", "b"]}
    for level in range(DEPTH):
        nested = {f"group {level}": nested}
    tree = lm.Tree.from_nested(nested)
    assert (tree.num_classes, tree.height) == (2, 1)
    edges = [(f"n{i + 1}", f"n{i}") for i in range(DEPTH)]
    tree = lm.Tree.from_edges([*reversed(edges), ("other", "n0")])
    assert (tree.classes, tree.height) == ((f"n{DEPTH}", "other"), DEPTH)
    assert tree.expected(torch.tensor([0.25, 0.75])).tolist() == [0.75 * DEPTH, 0.25 * DEPTH]


def test_classes_of_nested_groups_keep_their_order() -> None:
    nested = {"x": {"y": ["a", "b"], "c": {}, "z": {"w": ["d"]}}, "e": [], "f": ["g"]}
    tree = lm.Tree.from_nested(nested)
    paths = [("x", "y", "a"), ("x", "y", "b"), ("x", "c"), ("x", "z", "w", "d"), ("e",), ("f", "g")]
    assert tree == lm.Tree(paths)
    with pytest.raises(ValueError, match="class 1 has no name: got None"):
        lm.Tree.from_nested(["a", None, "b"])


def test_groups_may_be_shared_but_not_contain_themselves() -> None:
    shared = ["a"]
    with pytest.raises(ValueError, match="name 'a' is used twice"):  # not a circle
        lm.Tree.from_nested({"x": shared, "y": shared})
    inner: dict[str, object] = {"a": {}}
    inner["again"] = {"deeper": inner}
    for nested in (inner, {"top": inner}):
        with pytest.raises(ValueError, match="the group 'deeper' contains itself"):
            lm.Tree.from_nested(nested)


@pytest.mark.parametrize(
    "circle", [[("a", "b"), ("b", "a")], [("a", "a")], [("c", "a"), ("a", "b"), ("b", "a")]]
)
def test_edges_in_a_circle_are_refused_wherever_it_lies(circle: list[tuple[str, str]]) -> None:
    tree = [("x", "root"), ("y", "root")]
    with pytest.raises(ValueError, match="there is a cycle"):
        lm.Tree.from_edges(circle)
    for edges in (circle + tree, tree + circle):
        with pytest.raises(ValueError, match="run in a cycle") as error:
            lm.Tree.from_edges(edges)
        assert "\n" not in str(error.value)


def test_paths_that_would_fill_the_memory_are_refused() -> None:
    comb = [(f"n{i + 1}", f"n{i}") for i in range(DEPTH)]
    with pytest.raises(ValueError, match="steps or more, over 50000000 in all"):
        lm.Tree.from_edges(comb + [(f"leaf {i}", f"n{i}") for i in range(DEPTH)])
    nested: dict[str, object] = {"last": {}}
    for level in range(DEPTH):
        nested = {f"group {level}": nested, f"leaf {level}": {}}
    with pytest.raises(ValueError, match="steps or more, over 50000000 in all"):
        lm.Tree.from_nested(nested)
