# Everything a checkout can do. Each target may be run again and again.
#
#   make compare   train on digits with several losses, print the table, write out/
#   make test      lint, types, import contract, tests, docstring and README examples
#   make test-all  the same with every loss on every engine in every dtype, and the slow tests
#   make nightly   the full product, and 20,000 random calls against exact answers
#   make bench     time losses and objectives on this CPU; writes into benchmarks/results
#   make evidence  does training for the costs pay? public data sets; writes docs/evidence.md (long)
#   make mutate    mutation testing of losses, matrices and decisions (slow)

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: compare test test-all nightly lint bench evidence mutate clean
.DEFAULT_GOAL := compare

compare: $(READY)
	@$(BIN)/lossmatrix compare --digits --out out/report.html

test: lint
	@tests/install_chromium.sh
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-all: lint
	@tests/install_chromium.sh
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal --full

nightly: test-all
	@$(BIN)/python tests/fuzz.py --cases 20000

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

bench: $(READY)
	@$(BIN)/python benchmarks/cpu.py
	@$(BIN)/python benchmarks/boosting.py
	@$(BIN)/python benchmarks/options.py
	@$(BIN)/python benchmarks/decide.py
	@$(BIN)/python benchmarks/linear.py

evidence: $(READY)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --group evidence
	@nice $(BIN)/python benchmarks/evidence.py

mutate: $(READY)
	@$(BIN)/mutmut run

clean:
	rm -rf .venv out build dist mutants

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "lossmatrix needs Python 3.10 or newer: install python3, or name it with make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "lossmatrix needs Python 3.10 or newer, but $(PYTHON) is older: name another with make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1' \
	  && $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt \
	     -e '.[metrics,sklearn,compare]' --group dev \
	  || { echo "the packages could not be installed: is there a network? pip's own words stand above." >&2; exit 1; }
	@touch $(READY)
