# SPDX-License-Identifier: BSD-3-Clause
"""``import lossmatrix`` is light: it loads torch and itself, nothing that only some calls need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lossmatrix as lm

NOT_NEEDED = {
    "triton",
    "torchmetrics",
    "sklearn",
    "skorch",
    "scipy",
    "pandas",
    "typer",
    "rich",
    "joblib",
    "matplotlib",
    "xgboost",
    "lightgbm",
}
OPTIONAL = (".cli", ".meter", ".sklearn", ".boosting")
PROBE = """
import json, sys, time
import torch
before, start = set(sys.modules), time.perf_counter()
import lossmatrix
seconds = time.perf_counter() - start
print(json.dumps({"modules": sorted(set(sys.modules) - before), "seconds": seconds}))
"""


def fresh(code: str) -> str:
    """What a new process prints; warnings are errors there too."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_that_only_some_calls_need() -> None:
    report = json.loads(fresh(PROBE))
    loaded = {name.partition(".")[0] for name in report["modules"]}
    print(f"import lossmatrix takes {report['seconds']:.3f} s on top of torch")
    assert not loaded & NOT_NEEDED
    own = {name for name in report["modules"] if name.startswith("lossmatrix")}
    assert not {name for name in own if "compare" in name or name.endswith(OPTIONAL)}
    assert len(report["modules"]) < 200


@pytest.mark.parametrize("name", ["boosting", "compare", "sklearn"])
def test_a_module_that_needs_an_extra_is_there_when_it_is_asked_for(name: str) -> None:
    code = f"""
import sys, lossmatrix as lm
assert "lossmatrix.{name}" not in sys.modules
assert lm.{name} is sys.modules["lossmatrix.{name}"]
assert not hasattr(lm, "boosted")
"""
    fresh(code)


def test_a_first_call_loads_nothing_of_the_compiler_stack() -> None:
    code = """
import sys, torch, lossmatrix as lm
before = set(sys.modules)
criterion = lm.Criterion(lm.CrossEntropy() + lm.Unlikelihood(), [[0, 1], [5, 0]])
criterion(torch.zeros(3, 2, requires_grad=True), torch.tensor([0, 1, 0])).backward()
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not new & {"triton", "sympy"}, new
assert "torch._dynamo" not in sys.modules
"""
    fresh(code)


@pytest.mark.parametrize(
    "typed", [["--help"], ["costs", "costs.csv"], ["explain", "CrossEntropy"]], ids=" ".join
)
def test_a_command_loads_what_it_needs_and_no_models_tables_or_charts(
    typed: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("typer")
    (tmp_path / "costs.csv").write_text("true\\pred,bad,good\nbad,0,5\ngood,1,0\n")
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
sys.argv[1:] = {typed!r}
from lossmatrix.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print()
print(*sys.modules)
"""
    loaded = set(fresh(code).splitlines()[-1].split())
    assert "lossmatrix.compare.commands" in loaded
    needed = {"typer", "rich"} if "--help" in typed else {"typer"}  # which draws its help with rich
    others = (NOT_NEEDED | {"pyarrow", "jinja2"}) - needed
    assert not {name.partition(".")[0] for name in loaded} & others


def test_every_public_name_can_be_had_and_is_public() -> None:
    for name in dir(lm):
        assert getattr(lm, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Unlikely'"):
        _ = lm.Unlikely


def test_the_meter_is_found_when_it_is_asked_for() -> None:
    pytest.importorskip("torchmetrics")
    from lossmatrix.meter import CostMeter

    assert lm.CostMeter is CostMeter


def test_the_types_are_declared() -> None:
    from importlib.resources import files

    assert files("lossmatrix").joinpath("py.typed").is_file()
