# SPDX-License-Identifier: BSD-3-Clause
"""Trees of any depth, and those that run in circles or fill the memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lossmatrix as lm
from lossmatrix.costs.facts import facts_of

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
    with pytest.raises(ValueError, match=r"found none: there is a cycle\.$"):
        lm.Tree.from_edges(circle)
    for edges in (circle + tree, tree + circle):
        with pytest.raises(ValueError, match="run in a cycle") as error:
            lm.Tree.from_edges(edges)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        ([], r"found none: there are no edges\.$"),
        ({"cat": "animal", "dog": "animal"}, r"a pair \(child, parent\), got 'cat': .* items\(\)"),
        ([("cat", "animal"), ("dog", "animal", 2)], r"a pair .* got \('dog', 'animal', 2\)"),
        ("ab", r"a pair \(child, parent\), got 'a'"),
    ],
)
def test_what_are_no_edges_is_one_sentence(edges: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as error:
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


class Unmade(lm.Tree):
    """Its paths are not to be there, even for a moment."""

    def __init__(self, *_: object) -> None:
        raise AssertionError


def test_as_many_steps_as_fit_are_taken_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = "to 2 classes have 4 steps or more, over 3 in all"
    monkeypatch.setattr("lossmatrix.costs.tree.MOST_STEPS", 4)
    trees = (
        lm.Tree([("g", "a"), ("g", "b")]),
        lm.Tree.from_edges([("a", "g"), ("b", "g")]),
        lm.Tree.from_nested({"g": ["a", "b"]}),
    )
    for tree in trees:
        assert tree.classes == ("a", "b")
    monkeypatch.setattr("lossmatrix.costs.tree.MOST_STEPS", 3)
    with pytest.raises(ValueError, match=refusal):
        lm.Tree([("g", "a"), ("g", "b")])
    with pytest.raises(ValueError, match=refusal):
        Unmade.from_edges([("a", "g"), ("b", "g")])
    with pytest.raises(ValueError, match=refusal):
        Unmade.from_nested({"g": ["a", "b"]})


def test_every_node_may_be_a_class() -> None:
    edges = [("a", "r"), ("g", "r"), ("b", "g")]
    tree = lm.Tree.from_edges(edges, ["g", "a", "r", "b"])
    assert tree == lm.Tree([("r", "g"), ("r", "a"), ("r",), ("r", "g", "b")])


LOPSIDED = {
    "a group and a class beside it": lm.Tree.from_groups("aab", within=0.25, across=0.5),
    "two classes": lm.Tree([("x",), ("y",)], level_costs=[0.125]),
    "a group of one": lm.Tree([("g", "h", "x"), ("y",), ("z",)], level_costs=[0.5, 0.5, 3]),
    "free within the group": lm.Tree([("z",), ("g", "x"), ("g", "y")], level_costs=[0, 2]),
    "one fork far below the root": lm.Tree([("r", "s", "x"), ("r", "s", "y")]),
    "one class": lm.Tree([("g", "x")]),
}


@pytest.mark.parametrize("tree", LOPSIDED.values(), ids=LOPSIDED)
def test_facts_of_every_row_are_those_of_the_table(tree: lm.Tree) -> None:
    for costs in (tree, tree.to(dtype=torch.float32)):
        torch.testing.assert_close(tuple(costs.row_facts), tuple(facts_of(tree.to_dense())))


def test_a_name_of_a_class_that_is_used_twice_is_said_to_be_one() -> None:
    with pytest.raises(ValueError, match="class name 'x' is used twice"):
        lm.Tree.from_groups("ab", ["x", "x"])
