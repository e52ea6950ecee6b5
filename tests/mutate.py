# SPDX-License-Identifier: BSD-3-Clause
"""Mutation testing: breaks the code in small ways, one at a time, and lists what no test notices.

    python tests/mutate.py              every module of ``TESTS``, in its order
    python tests/mutate.py decide costs/tree

A mutant is put into the running process by giving a function another ``__code__``, so that nothing
is copied, imported or compiled again, properties and traced graphs included. A first run notes
which lines each test executes and how long it takes. Then a process is forked for every mutant, in
which the tests that execute its lines run, until one fails. Tests are collected before. They are
collected after, too, where that executes the lines, as catalogues of matrices do, of a mutant that
has survived; and only after where it may read the constant that a mutant changes, as tests do that
choose their cases by a promise. Times are those of the processor: others may be using the machine.

``build/mutants`` holds what is known: an interrupted run goes on, and a run after tests have been
added tries what survived again. Survivors that ``tests/mutants.csv`` argues for are not tried.
"""

from __future__ import annotations

import csv
import datetime
import functools
import gc
import hashlib
import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from mutants import Mutant, functions, mutants_of

ROOT = Path(__file__).resolve().parents[1]
KNOWN, ARGUED = ROOT / "build" / "mutants", ROOT / "tests" / "mutants.csv"
SUMMARY = ROOT / "docs" / "results" / "mutants.csv"
SURVIVED = ROOT / "docs" / "results" / "mutants_survived.csv"
Measured = tuple[dict[str, float], dict[str, dict[str, list[int]]], dict[str, list[int]]]
COLUMNS = (
    "module",
    "mutants",
    "killed",
    "timed out",
    "argued",
    "unexplained",
    "minutes",
    "commit",
    "date",
)
LONGEST, BUDGET = 8.0, 20.0  # seconds: of one test, and of all that a mutant of lines is shown

CODEGEN = (
    "codegen native::test_the_shipped_formulas_are_the_losses_own "
    "native::test_an_infinite_number_in_a_formula_is_printed "
    "costs_kinds::test_matrices_that_ship_are_printed_as_they_are "
    "costs_kinds::test_one_text_serves_every_size_and_every_number "
    "costs_kinds::test_a_formula_that_branches_on_an_entry_is_refused "
)
OF_LOSSES = "oracles laws_statements laws thread refusals registry"
OF_COSTS = (
    "costs costs_kinds costs_tree costs_structured costs_float32 costs_tables costs_torch "
    "costs_findings costs_accuracy"
)
MODULES = {  # the modules that share tests, and the tests
    "decide": "decide",
    "metrics": "metrics metrics_meter",
    "losses/language losses/base losses/cross_entropy losses/expected losses/margin "
    "losses/proper": OF_LOSSES,
    "codegen/derive codegen/symbols codegen/dual codegen/affine codegen/curvature codegen/cpp "
    "codegen/triton codegen/costs": CODEGEN,
    "costs/base costs/transformed costs/tree costs/dense costs/lowrank costs/sparse costs/ordinal "
    "costs/zero_one costs/per_example costs/tables costs/check costs/facts costs/labels "
    "costs/language costs/sums costs/io costs/frames costs/display": f"{OF_COSTS} costs_files",
}
TESTS = {name: tests for names, tests in MODULES.items() for name in names.split()}
# An engine with kernels would run those of the formulas as they were.
WITHOUT = "not native and not triton"


# --- one module ----------------------------------------------------------------------------------


def try_module(name: str) -> None:
    """Try every mutant of a module that is not known yet, in forked processes."""
    path = ROOT / "src" / "lossmatrix" / f"{name}.py"
    module = importlib.import_module("lossmatrix." + name.replace("/", "."))
    mutants = mutants_of(path.read_text(), str(path))
    known = Known(name, path.read_text())
    argued = arguments(name)
    todo = [m for m in mutants if known.verdict.get(m.key) != "killed" and m.key not in argued]
    todo.sort(key=lambda m: ("", "survived", "timed out").index(known.verdict.get(m.key, "")))
    if not todo:
        return
    tests = Tests(name, known.kills)
    live = functions(gc.get_objects(), str(path))
    print(f"{name}: {len(todo)} of {len(mutants)} mutants, {len(tests.seconds)} tests", flush=True)

    def judge(mutant: Mutant, run: Callable[[list[str]], str]) -> None:
        began, chosen = time.monotonic(), tests.chosen(mutant)
        verdict, killer = "survived", ""
        if chosen:
            limit = 30 + 2 * sum(tests.seconds[each] for each in chosen)

            def attempt() -> str:
                mutant.install(module, live)
                return run(chosen)

            verdict, killer = forked(attempt, limit)
            tests.kills[killer] += 1
        known.add(mutant, verdict, killer, time.monotonic() - began)

    of_lines = [mutant for mutant in todo if mutant.lines]
    if of_lines:
        tests.collected_once(lambda run: [judge(mutant, run) for mutant in of_lines] and None)
        known = Known(name, path.read_text())
    for mutant in todo:
        lived = known.verdict.get(mutant.key) == "survived"
        if not mutant.lines or (lived and tests.at_collection & mutant.lines):
            judge(mutant, tests.collected_anew)


class Plugin:
    """What every run of pytest does here."""

    def pytest_sessionstart(self) -> None:
        """The same random examples every time, none of them made smaller."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "mutants", database=None, deadline=None, derandomize=True, phases=phases
        )
        settings.load_profile("mutants")


class Tests:
    """The tests of a module: which lines of it each executes, and for how long."""

    def __init__(self, name: str, kills: Counter[str]) -> None:
        names = next(each.split() for each in MODULES if name in each.split())
        files = {each: f"src/lossmatrix/{each}.py" for each in names}
        self.arguments = [
            "::".join([f"tests/test_{file}.py", *test])
            for file, *test in (each.split("::") for each in TESTS[name].split())
        ]
        self.arguments += files.values()  # examples of docstrings
        self.which = WITHOUT if name.startswith("losses/") else ""
        self.kills = kills
        seconds, lines, at_collection = self.measured([*files.values()])
        self.names = set(seconds)
        self.lines = {test: set(found.get(files[name], ())) for test, found in lines.items()}
        self.at_collection = set(at_collection.get(files[name], ()))
        self.seconds = {
            test: time for test, time in seconds.items() if time < LONGEST and self.lines[test]
        }

    def measured(self, files: list[str]) -> Measured:
        """Seconds of every test and lines it executes; infinitely many where it fails traced."""
        sources = b"".join((ROOT / each).read_bytes() for each in files)
        seconds: dict[str, float] = {}
        lines: dict[str, dict[str, list[int]]] = {}
        at_collection: dict[str, list[int]] = {}
        for file, arguments in self.by_file().items():
            text = sources + (ROOT / file).read_bytes() + " ".join(arguments).encode()
            digest = hashlib.sha256(text).hexdigest()[:12]
            kept = KNOWN / f"measured-{Path(file).stem}-{digest}.json"
            if not kept.exists():
                measure = functools.partial(self.measure, files, arguments, kept)
                _, error = forked(measure, 7200, quiet=False)
                if error:
                    raise RuntimeError(f"the tests cannot be run: {error}")
            some_seconds, some_lines, some_at_collection = json.loads(kept.read_text())
            seconds |= some_seconds
            lines |= some_lines
            for each, numbers in some_at_collection.items():
                at_collection.setdefault(each, []).extend(numbers)
        return seconds, lines, at_collection

    def by_file(self) -> dict[str, list[str]]:
        """The arguments of pytest by the file that they name."""
        found: dict[str, list[str]] = {}
        for each in self.arguments:
            found.setdefault(each.split("::")[0], []).append(each)
        return found

    def measure(self, files: list[str], arguments: list[str], kept: Path) -> str:
        """Run tests with a trace of the files, and write down what ``measured`` returns of them."""
        seen: dict[str, set[int]] = {str(ROOT / each): set() for each in files}
        seconds: dict[str, float] = {}
        lines: dict[str, dict[str, list[int]]] = {}

        def taken() -> dict[str, list[int]]:
            found = {file: sorted(seen[str(ROOT / file)]) for file in files}
            for each in seen.values():
                each.clear()
            return {file: numbers for file, numbers in found.items() if numbers}

        class Recorder(Plugin):
            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
                if not lines:
                    lines[""] = taken()  # by the collection
                began = time.process_time()
                sys.settrace(trace)
                result = yield
                sys.settrace(None)
                seconds.setdefault(item.nodeid, time.process_time() - began)
                lines[item.nodeid] = taken()
                return result

            def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
                if report.failed:
                    seconds[report.nodeid] = float("inf")

        trace = tracer(seen)
        sys.settrace(trace)
        self.pytest(Recorder(), arguments)
        kept.write_text(json.dumps([seconds, lines, lines.pop("", {})]))
        return ""

    def chosen(self, mutant: Mutant) -> list[str]:
        """Tests for a mutant: fast ones and those that have killed others first."""
        reached = [k for k in self.seconds if not mutant.lines or self.lines[k] & mutant.lines]
        reached.sort(key=lambda k: self.seconds[k] / (1 + self.kills[k]))
        # A constant may be read on any line, and so by any test: it is shown many more.
        budget, total, kept = BUDGET * (1 if mutant.lines else 6), 0.0, list[str]()
        for each in reached:
            total += self.seconds[each]
            if total < budget:
                kept.append(each)
        return kept

    def pytest(self, plugin: object, arguments: list[str]) -> int:
        """Run pytest in this process; what it would write elsewhere is switched off."""
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not integration"]
        return pytest.main([*options, "-k", self.which, *arguments], plugins=[plugin])

    def collected_anew(self, chosen: list[str]) -> str:
        """Collect the files of the tests chosen one by one, and run those; the one that failed."""
        killer = ""

        class Loop(Plugin):
            def pytest_runtestloop(self, session: pytest.Session) -> bool:
                nonlocal killer
                killer = tests.first_failure(session, chosen)
                return True

        tests, by_file = self, self.by_file()
        for file in dict.fromkeys(each.split("::")[0] for each in chosen):
            status = self.pytest(Loop(), by_file[file])
            if killer or status:
                return killer or f"the collection of {file}"
        return ""

    def collected_once(self, judge_all: Callable[[Callable[[list[str]], str]], None]) -> None:
        """Collect the tests in a process of its own, and judge mutants in forks of it."""

        class Loop(Plugin):
            def pytest_runtestloop(self, session: pytest.Session) -> bool:
                judge_all(lambda chosen: tests.first_failure(session, chosen))
                return True

        tests = self
        forked(lambda: str(self.pytest(Loop(), self.arguments) or ""), 10**6, quiet=False)

    def first_failure(self, session: pytest.Session, chosen: list[str]) -> str:
        """The first test that fails, or nothing, of those chosen and those that a mutant made."""
        from _pytest.runner import runtestprotocol

        by_name = {item.nodeid: item for item in session.items}
        names = [*chosen, *(by_name.keys() - self.names)]
        items = [by_name[name] for name in names if name in by_name]
        for each, following in zip(items, [*items[1:], None], strict=bool(items)):
            if any(bad.failed for bad in runtestprotocol(each, log=False, nextitem=following)):
                return each.nodeid
        return ""


def tracer(seen: dict[str, set[int]]) -> Callable[..., object]:
    """A trace function that notes the lines of some files."""

    def local(frame: types.FrameType, event: str, argument: object) -> object:
        seen[frame.f_code.co_filename].add(frame.f_lineno)
        return local

    def trace(frame: types.FrameType, event: str, argument: object) -> object:
        return local(frame, event, argument) if frame.f_code.co_filename in seen else None

    return trace


def forked(run: Callable[[], str], limit: float, quiet: bool = True) -> tuple[str, str]:
    """A verdict, and what killed it: the answer of ``run`` in a process of its own, if any.

    ``limit`` is in seconds of its processor; it may wait ten times that long.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setpgid(0, 0)
        if quiet:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            resource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**33))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))
        status = 1
        try:
            os.write(writer, run().encode()[:4000])
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    began, nap = time.monotonic(), 0.005
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > 10 * limit:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return "timed out", ""
        time.sleep(nap)
        nap = min(0.1, nap * 1.5)
    with os.fdopen(reader, "rb", closefd=True) as answers:
        answer = answers.read().decode(errors="replace")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return "timed out", ""
    if status:
        return "killed", "the process ended"
    return ("killed", answer) if answer else ("survived", "")


# --- what is known -------------------------------------------------------------------------------


class Known:
    """Verdicts on the mutants of a module as it is, kept in a file."""

    def __init__(self, name: str, source: str) -> None:
        digest = hashlib.sha256(source.encode()).hexdigest()[:12]
        self.name, self.file = name, KNOWN / f"{name.replace('/', '-')}-{digest}.csv"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = self.file.read_text() if self.file.exists() else ""
        rows = list(csv.reader(text.splitlines()))
        self.verdict = {row[0]: row[1] for row in rows}
        self.minutes = sum(float(row[2]) for row in rows) / 60
        self.kills = Counter(row[3] for row in rows)
        self.date = rows[-1][4] if rows else ""

    def add(self, mutant: Mutant, verdict: str, killer: str, seconds: float) -> None:
        """Write a verdict down."""
        today = datetime.date.today().isoformat()
        with self.file.open("a") as file:
            csv.writer(file).writerow([mutant.key, verdict, f"{seconds:.1f}", killer, today])
        self.verdict[mutant.key] = verdict
        if verdict != "killed":
            print(f"  {verdict}: {self.name}:{mutant.line} {mutant.key}", flush=True)


def arguments(name: str) -> dict[str, str]:
    """Why mutants of a module may survive."""
    return {row["mutant"]: row["argument"] for row in table(ARGUED) if row["module"] == name}


def summarize(names: Iterable[str]) -> int:
    """Write the tables of all modules and survivors; the number of survivors without an argument.

    Modules that have untried mutants keep the rows that they had.
    """
    rows = {name: dict.fromkeys(COLUMNS, "") | {"module": name} for name in TESTS}
    rows |= {row["module"]: row for row in table(SUMMARY) if row["module"] in TESTS}
    survived = {name: [row for row in table(SURVIVED) if row["module"] == name] for name in TESTS}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    total = 0
    for name in names:
        path = ROOT / "src" / "lossmatrix" / f"{name}.py"
        known, argued = Known(name, path.read_text()), arguments(name)
        keys = [mutant.key for mutant in mutants_of(path.read_text(), str(path))]
        for key in argued.keys() - set(keys):
            print(f"{ARGUED.name} argues for a mutant that there is not in {name}: {key}")
        verdicts = {key: "argued" if key in argued else known.verdict.get(key) for key in keys}
        count = Counter(verdicts.values())
        if count[None]:
            continue  # not all of them have been tried
        total += count["survived"]
        values = (
            name, len(keys), count["killed"], count["timed out"], count["argued"],
            count["survived"], f"{known.minutes:.1f}", commit, known.date,
        )  # fmt: skip
        rows[name] = dict(zip(COLUMNS, map(str, values), strict=True))
        survived[name] = [
            {"module": name, "mutant": key} for key in keys if verdicts[key] == "survived"
        ]
    write(SUMMARY, COLUMNS, (rows[name] for name in TESTS))
    write(SURVIVED, ("module", "mutant"), (row for name in TESTS for row in survived[name]))
    return total


def table(file: Path) -> list[dict[str, str]]:
    """The rows of a table, none where there is no file."""
    if not file.exists():
        return []
    with file.open() as lines:
        return list(csv.DictReader(lines))


def write(file: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """Write a table."""
    with file.open("w") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(names: list[str]) -> int:
    """Try the mutants of the modules named, or of all; 1 where any survived unexplained."""
    import torch

    torch.set_num_threads(1)
    importlib.import_module("lossmatrix")
    os.chdir(ROOT)
    for name in names:
        try_module(name)
        summarize([name])
    return int(summarize(names) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [*TESTS]))
