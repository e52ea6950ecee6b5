# SPDX-License-Identifier: BSD-3-Clause
"""What the documents say is what the code does; each test holds one document to its word."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recipes import recipes
from registry import final_losses

import lossmatrix as lm
import lossmatrix.boosting
import lossmatrix.sklearn

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
RULES = {"argmax": "argmax", "bayes": "bayes", None: "—"}
ANSWERS = {True: "yes", False: "no"}


def read(name: str) -> str:
    """The text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


# --- the README ----------------------------------------------------------------------------------


def loss_table() -> dict[str, list[str]]:
    """The README's table of losses: name → decides, convex, proper."""
    rows = re.findall(r"^\| `(\w+)` \|(.+)\|$", read("README.md"), flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")[-3:]] for name, cells in rows}


def test_the_readme_lists_every_loss_and_no_other() -> None:
    assert sorted(loss_table()) == sorted(cls.__name__ for cls in final_losses())


@pytest.mark.parametrize("cls", final_losses(), ids=lambda cls: cls.__name__)
def test_the_readme_states_what_the_loss_promises(cls: type[lm.Loss]) -> None:
    loss = cls()
    promised = [RULES[loss.decides], ANSWERS[loss.convex], ANSWERS[loss.proper]]
    assert loss_table()[cls.__name__] == promised


def test_the_first_screen_of_the_readme_shows_a_decision_and_what_it_cost() -> None:
    screen = "\n".join(read("README.md").splitlines()[:40])
    for word in (">>> print(costs)", "lm.Criterion(", "criterion.decide(", "lm.average_cost("):
        assert word in screen


@pytest.mark.parametrize("place", ["README.md", "docs/index.md", "docs/guide"])
def test_the_examples_of_the_documents_are_among_the_tests(
    place: str, pytestconfig: pytest.Config
) -> None:
    assert place in pytestconfig.getini("testpaths"), (
        f"`pytest` alone leaves its examples out: add {place} to testpaths in pyproject.toml"
    )


def test_python_without_prompts_is_run_by_a_test_of_its_own() -> None:
    pages = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
    code = {page: list(found) for page in pages if (found := recipes(page))}
    assert code.pop("docs/guide/compare.md") == ["A model of your own"]  # test_compare_api.py
    tests = "".join(
        read(path.relative_to(ROOT).as_posix()) for path in ROOT.glob("tests/test_*.py")
    )
    assert [*code] == ["docs/training_loops.md"]
    assert [heading for heading in code.popitem()[1] if f'loop("{heading}")' not in tests] == []


def test_the_readme_leads_to_every_page_of_the_guide() -> None:
    pages = {path.name for path in (ROOT / "docs" / "guide").glob("*.md")}
    linked = set(re.findall(r"\(docs/guide/(\w+\.md)", read("README.md")))
    # the table of losses stands on both, and numerics are what is measured
    assert pages - linked == {"losses.md", "numerics.md"}


def test_the_readme_leads_to_the_list_of_every_name() -> None:
    assert "(docs/reference/index.rst)" in read("README.md")


def test_links_to_a_section_lead_to_a_heading() -> None:
    for page, section in re.findall(r"\(docs/(guide/\w+\.md)#([\w-]+)\)", read("README.md")):
        headings = re.findall(r"^#+ (.+)$", read(f"docs/{page}"), re.MULTILINE)
        assert section in [re.sub(r"\W+", "-", heading.lower()) for heading in headings]


# --- all documents -------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_page_of_benchmarks_shows_every_committed_result_and_no_other() -> None:
    shown = re.findall(
        r"^:file: \.\./(benchmarks/results/.+)$", read("docs/benchmarks.md"), re.MULTILINE
    )
    committed = (ROOT / "benchmarks" / "results").glob("*.csv")
    assert shown == sorted(path.relative_to(ROOT).as_posix() for path in committed)


def test_the_design_fits_on_three_pages() -> None:
    assert len(read("DESIGN.md").split()) <= 1800


def test_the_design_places_every_module() -> None:
    package = ROOT / "src" / "lossmatrix"
    modules = [path.stem for path in package.glob("*.py") if not path.stem.startswith("_")]
    folders = [path.parent.name for path in package.glob("*/__init__.py")]
    design = read("DESIGN.md")
    assert [name for name in modules + folders if not re.search(rf"`[^`]*\b{name}\b", design)] == []


def test_nothing_names_a_folder_of_somebodys_machine() -> None:
    folders = [f"/{name}/" for name in ("work", "root", "home", "Users")]
    patterns = ("*", "src/**/*", "tests/**/*", "docs/**/*", ".ci/*")
    files = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    files = {path for path in files if path.suffix not in (".pyc", ".so") and path.name != ".git"}
    texts = {path: path.read_text(encoding="utf-8", errors="ignore") for path in files}
    assert [path for path, text in texts.items() if any(name in text for name in folders)] == []


# --- docstrings ----------------------------------------------------------------------------------


def exported() -> dict[str, object]:
    """Everything that ``import lossmatrix as lm`` offers as ``lm.name``, without its modules."""
    found = {name: getattr(lm, name) for name in (*dir(lm), "CostMeter") if name[0] != "_"}
    return {name: each for name, each in found.items() if is_ours(each)}


def is_ours(value: object) -> bool:
    """Whether a class or function of this library."""
    return callable(value) and value.__module__.startswith("lossmatrix.")


EXPORTED = exported()
# Words of the formula language and bases to derive from; the losses are their examples.
LANGUAGE = {"Cells", "CostMatrix", "Finding", "Loss", "growth", "power", "weigh"}
# No publication states it first: it is what users of forums arrive with.
FOLKLORE = {"PairWeightedCrossEntropy"}


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_public_name_says_what_it_is(name: str) -> None:
    first = (EXPORTED[name].__doc__ or "").strip().split("\n\n")[0]
    assert first.endswith(".")


@pytest.mark.parametrize("name", sorted(EXPORTED.keys() - LANGUAGE))
def test_every_public_name_has_an_example_that_prints_something(name: str) -> None:
    assert re.search(r"^ *>>> .+\n(^ *(>>>|\.\.\.) .+\n)*^ *[^ >.]", docstring(name), re.MULTILINE)


def docstring(name: str) -> str:
    """The docstring of an exported name."""
    return inspect.getdoc(EXPORTED[name]) or ""


@pytest.mark.parametrize("cls", final_losses(), ids=lambda cls: cls.__name__)
def test_the_docstring_of_a_loss_has_formula_rule_and_source(cls: type[lm.Loss]) -> None:
    text = docstring(cls.__name__)
    rule = {"argmax": "argmax", "bayes": "Bayes step", None: "``decides`` is None"}[cls().decides]
    assert re.search(r"log|Σ", text.split(".\n")[0])  # in the first sentence
    assert rule in " ".join(text.split())
    assert ("Source:" in text) is (cls.__name__ not in FOLKLORE)


def referred() -> set[str]:
    """The names that the reference of the site has a page for."""
    return set(re.findall(r"^   (\w[\w.]+)$", read("docs/reference/index.rst"), re.MULTILINE))


def test_every_public_name_has_a_page_of_the_site() -> None:
    modules = {"plot": lm.plot, "boosting": lm.boosting, "sklearn": lm.sklearn}
    offered = {f"{name}.{each}" for name, module in modules.items() for each in module.__all__}
    offered |= {"testing.check_loss", "compare.compare", "parallel.ShardedCriterion"}
    offered |= {"parallel.ShardedLinearCriterion"}
    assert referred() == EXPORTED.keys() | offered


# --- one word per thing --------------------------------------------------------------------------

GLOSSARY = {
    "a call": "logits probs target costs loss decision criterion rule",
    "its options": "weight pos_weight sample_weight ignore_index reduction label_smoothing engine",
    "a matrix": "table classes decisions truth cost default name sample factor tables fn device "
    "dtype rows path frame gains counts frequent exceptions",
    "its shape": "power positions left right row_costs column_costs embeddings "
    "decision_embeddings cubes paths edges nested groups within across level_costs",
    "the entry of a kind": "i j load",
    "a finding": "kind message remedy",
    "a linear layer": "input linear_weight linear_bias in_features num_classes out_features "
    "max_chunk_bytes accumulate_dtype",
    "parts of a batch": "normalizer group",
    "decisions": "abstain_cost old new",
    "torchmetrics": "preds",
    "parameters of losses": "temperature tau lam gamma detach log",
    "parameters of calibrations": "temperature scale bias matrix ridge features",
    "a refinement": "model loader validation folds generator",
    "formulas": "cell words totals weight log_weight value base exponent risk",
    "a call on its way to an engine": "terms options",
    "the meter": "k",
}
WORDS = {word for words in GLOSSARY.values() for word in words.split()}


def public_callables() -> Iterator[tuple[str, Callable[..., object]]]:
    """Every exported function, and every constructor and public method written here."""
    for name, each in EXPORTED.items():
        assert callable(each)
        yield name, each
        if isinstance(each, type):
            for method in vars(each):
                if not method.startswith("_") and callable(getattr(each, method)):
                    yield f"{name}.{method}", getattr(each, method)


CALLABLES = dict(public_callables())


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_arguments_are_named_in_the_words_of_the_glossary(name: str) -> None:
    arguments = inspect.signature(CALLABLES[name]).parameters.keys() - {"self"}
    assert arguments - WORDS == set()


def test_the_glossary_has_no_word_that_nobody_uses() -> None:
    used = {word for each in CALLABLES.values() for word in inspect.signature(each).parameters}
    assert WORDS - used == set()
