# make demo: set everything up and run the main job. make test: set everything up and pass the tests. No root needed.
# make lint, make doctest: what comes before the tests in continuous integration. make fuzz MINUTES=10: the property tests with
# new examples, again and again. make pages: write figures and pictures into their pages. make site: build the documentation, every
# link checked. make audit: look for known faults in what is pinned. make pins: bring the pins up to date.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PINS   := requirements/workstation.txt
# The tools of `pins` and `audit` live apart: nothing of theirs is seen by the project.
TOOLS  := $(VENV)/maintain
# And so do those of `site`.
SITE   := $(VENV)/site
# Tests that share what takes long to make run on one worker (tests/conftest.py).
PYTEST_ARGS ?= -n auto --dist loadgroup
MINUTES ?= 10
# Releases younger than this are not pinned: most poisoned ones are found and withdrawn by then.
NEWEST ?= $(shell date -u -d '45 days ago' +%F)
RESOLVE = $(TOOLS)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes --no-header \
          --no-emit-index-url --exclude-newer $(NEWEST)

.PHONY: demo test lint doctest fuzz pages site pins audit clean

demo: $(STAMP)
	$(BIN)/python -m bench.demo

test: $(STAMP)
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

doctest: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --doctest-modules lampq_tvm bench/report bench/common/peers/rows.py -p no:cacheprovider

# Each round has a seed of its own, which is printed: --hypothesis-seed=SEED makes it again.
fuzz: $(STAMP)
	@end=$$(($$(date +%s) + 60 * $(MINUTES))); while [ $$(date +%s) -lt $$end ]; do \
	    seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "seed $$seed"; \
	    LAMPQ_FUZZ=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(PYTEST_ARGS) -m hypothesis \
	        --hypothesis-seed=$$seed || exit 1; \
	done

# Everything is installed by its hash; the project itself comes last and fetches nothing. uv compiles bytecode only where it is
# told to, and commands that may not write any would compile torch's sources each time.
$(STAMP): pyproject.toml $(PINS)
	@if command -v uv >/dev/null 2>&1; then \
	    { test -x $(BIN)/python || uv venv --quiet $(VENV); } && \
	    uv pip install --compile-bytecode --python $(BIN)/python --require-hashes -r $(PINS) && \
	    uv pip install --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	    { test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); } && \
	    $(BIN)/pip install --disable-pip-version-check --require-hashes -r $(PINS) && \
	    $(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

$(TOOLS)/.installed: requirements/maintain.txt
	@test -x $(TOOLS)/bin/pip || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

pages: $(STAMP)
	$(BIN)/python -m bench.report.pages

$(SITE)/.installed: requirements/docs.txt
	@test -x $(SITE)/bin/pip || $(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

site: $(SITE)/.installed
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --site-dir build/site

pins: $(TOOLS)/.installed
	$(RESOLVE) pyproject.toml -o requirements/board.txt
	$(RESOLVE) --group maintain -o requirements/maintain.txt
	$(RESOLVE) --group docs -o requirements/docs.txt
	$(RESOLVE) pyproject.toml --extra compile --extra hf --extra test --group build -o $(PINS)
	PYTHONPATH=. $(TOOLS)/bin/python requirements/sbom.py

audit: $(TOOLS)/.installed
	PYTHONPATH=. $(TOOLS)/bin/python requirements/audit.py

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
