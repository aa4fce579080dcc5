# `make pull` and `make test` each do all set-up; only Python 3.11 or newer is needed.

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

export OMP_NUM_THREADS := 1
# Where it is set, every one of the many short processes of tests and timings would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# Without servers, browsers and training runs: the tests that a change is tried with, in less than a minute.
QUICK := initzoo $(addprefix tests/test_,$(addsuffix .py,baselines bases blocks book_networks calibration \
  cli_frame cli_options cli_using diffusion given house images index initializations inits labels networks \
  outputs pair_sources pair_store photos progress pull_generated requests runs shards starts teachers \
  tensor_files weight_generator words zoo))

.PHONY: help pull test style types test-long quick docs tables notebook times network-times edits edit-starts routes growth hub-times demo demo-times \
  demo-pictures space export-pictures live-picture hostile fuzz kills ray disks load oldest newest trust film ablations sbom audit clean

# Less of a long run: make hostile CASES=200, make fuzz FUZZ_SECONDS=60, make kills KILLS=5, make load CLIENTS=10 MINUTES=0.5
CASES := 10000
KILLS := 25
FUZZ_SECONDS := 600
CLIENTS := 50
MINUTES := 10

help:
	@echo 'make pull   set up, then pull the init of "pencil sketch"'
	@echo 'make test   set up, then run every check and the tests'
	@echo 'make test-long  set up, then run the tests that make test leaves out: thorough and costly ones'
	@echo 'make quick  set up, then run the quick tests, less than a minute of them'
	@echo 'make docs   set up for tests, then build the documentation in build/docs'
	@echo 'make tables  set up for tests, then rewrite the generated tables of README.md'
	@echo 'make notebook  set up for tests, then run examples/tour.ipynb and keep its pictures'
	@echo 'make times  set up, then print how long commands take'
	@echo 'make network-times  set up for tests, then print what the networks of the recipes cost'
	@echo 'make edits  set up, then write 16 edits that no training saw, as folders of pairs in edit-pairs'
	@echo 'make routes       set up for tests, then measure what the least confidence of a match is worth: ten minutes'
	@echo 'make edit-starts  set up for tests, then train the 16 edits from several starts: half an hour'
	@echo 'make growth  set up for tests, then measure what a larger zoo costs and brings: two hours'
	@echo 'make hub-times  set up for tests, then print what zoos on the Hub cost'
	@echo 'make demo   set up, then serve the page on this machine'
	@echo 'make demo-times  set up for tests, then print what the page costs'
	@echo 'make demo-pictures  set up for tests, then take the pictures of the page (wants chromium)'
	@echo 'make export-pictures  set up for tests, then print how far pictures of exports are from ours'
	@echo 'make live-picture  set up for tests, then print frames a second of the live page (wants chromium, npm)'
	@echo 'make space  set up for tests, then write the Space as a folder that is ready to push: build/space'
	@echo 'make hostile  set up for tests, then attack every reader with 10,000 mutated files each: hours'
	@echo 'make fuzz   set up for tests, then fuzz every reader for 10 minutes, guided by coverage: hours'
	@echo 'make kills  set up for tests, then kill eight commands at 25 random moments each: a quarter of an hour'
	@echo 'make ray    set up for tests, then kill workers and drivers on a Ray cluster of this machine: minutes'
	@echo 'make disks  set up for tests, then run the commands on full and read-only disks (wants Linux and root)'
	@echo 'make load   set up for tests, then load the page with 50 clients for 10 minutes'
	@echo 'make oldest  run the quick tests on the oldest allowed versions, in build/oldest'
	@echo 'make newest  run the quick tests on the newest versions, in build/newest'
	@echo 'make trust  set up for tests, then all of these from hostile on, and one table: many hours'
	@echo 'make film   set up for tests, then train one network that reads words, and evaluate it: an hour'
	@echo 'make ablations  set up for tests, then compare ways to cut weights into blocks: an hour'
	@echo 'make sbom   set up, then write what an installation consists of: build/sbom.json'
	@echo 'make audit  compare the pins with the advisories of PyPI (wants the internet)'
	@echo 'make clean  remove the virtual environment and caches'

pull: $(VENV)/.ready
	$(VENV)/bin/initzoo pull "pencil sketch" --force

test: $(VENV)/.ready-dev
	$(MAKE) --no-print-directory -j 2 style types
	$(VENV)/bin/pytest

# Two targets, so that one core is not idle while mypy works.
style: $(VENV)/.ready-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo

types: $(VENV)/.ready-dev
	$(VENV)/bin/mypy

test-long: $(VENV)/.ready-dev
	$(VENV)/bin/pytest -m long

quick: $(VENV)/.ready-dev
	$(VENV)/bin/pytest $(QUICK)

docs: $(VENV)/.ready-dev
	$(VENV)/bin/sphinx-build -W -E -q -b html -d build/doctrees docs build/docs

tables: $(VENV)/.ready-dev
	$(VENV)/bin/python docs/_ext/generated.py README.md

notebook: $(VENV)/.ready-dev
	$(PIP) ipykernel nbconvert
	$(VENV)/bin/python -m nbconvert --to notebook --execute --inplace examples/tour.ipynb

times: $(VENV)/.ready
	$(VENV)/bin/python tests/times.py

network-times: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/network_times.py

edits: $(VENV)/.ready
	$(VENV)/bin/python -m tests.edits --out edit-pairs --force

edit-starts: $(VENV)/.ready-dev
	$(VENV)/bin/python -m tests.edits.starts build/edit-starts

growth: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/growth_run.py build/growth

hub-times: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/hub_times.py

demo: $(VENV)/.ready-demo
	$(VENV)/bin/initzoo demo

demo-times: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/demo_times.py

demo-pictures: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/demo_pictures.py

export-pictures: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/export_pictures.py

live-picture: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/live_picture.py

space: $(VENV)/.ready-dev
	$(VENV)/bin/python spaces/make_space.py build/space

hostile: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/hostile_run.py --cases $(CASES)

# Seconds are those of each reader.
fuzz: $(VENV)/.ready-dev
	$(PIP) -e ".[fuzz]"
	$(VENV)/bin/python tests/fuzz_run.py --seconds $(FUZZ_SECONDS)

kills: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/kill_run.py --kills $(KILLS)

ray: $(VENV)/.ready-dev
	$(PIP) -e '.[ray]'
	$(VENV)/bin/python tests/ray_run.py

disks: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/disk_run.py

load: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/load_run.py --clients $(CLIENTS) --minutes $(MINUTES)

oldest: $(VENV)/.ready
	$(VENV)/bin/python tests/oldest_run.py $(QUICK)

newest: $(VENV)/.ready
	$(VENV)/bin/python tests/oldest_run.py --versions newest --folder build/newest $(QUICK)

trust: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/trust_run.py --cases $(CASES) --kills $(KILLS) --clients $(CLIENTS) --minutes $(MINUTES) $(QUICK)

routes: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/route_run.py

film: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/film_run.py

ablations: $(VENV)/.ready-dev
	$(VENV)/bin/python tests/ablation_run.py

sbom: $(VENV)/.ready
	$(VENV)/bin/python tests/sbom_run.py

# --strict: a package that could not be looked up is a failure, too.
audit: $(VENV)/.ready
	$(VENV)/bin/python -m venv build/audit
	build/audit/bin/python -m pip --disable-pip-version-check install --quiet pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist

$(VENV)/.ready: pyproject.toml constraints.txt
	@for python in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'initzoo needs Python 3.11 or newer and found none. Install it, or name it: make PYTHON=/path/to/python3.11 ...' >&2; \
	  exit 1; \
	fi; \
	[ -x $(VENV)/bin/pip ] || $$found -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.ready-demo: $(VENV)/.ready
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) -e '.[dev]'
	@touch $@
