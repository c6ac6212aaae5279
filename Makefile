# The two commands are `make demo` and `make test`; each does all the set-up it needs in .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without a GPU torch's CPU build is enough, and much smaller: where an index that pip is told of has one, pip prefers it.
CONSTRAINTS := $(if $(shell command -v nvidia-smi),,-c constraints-cpu.txt)
RUNTIME := agent,trainer,ctl
LAB := PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m lab
# A failure among real processes, kills and reboots on a machine that others load is tried once more and told either way.
RETRY := --reruns 1 --max-suite-reruns 5 --rerun-show-tracebacks -raR
# Most tests wait more than they work: four files at a time keep two cores busy. The slowest are named at the end.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=20 --durations-min=1
N ?= 3
PLAYBOOK := cd playbooks && ANSIBLE_FORCE_COLOR= $(CURDIR)/$(BIN)/ansible-playbook

.DEFAULT_GOAL := help
.PHONY: help demo demo-down chaos test soak lint lint-python lint-playbooks bench bench-learning mutation format lab lab-down lab-shell

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Deploy to this machine and watch two games learn, a promotion and a demotion (about 4 minutes)
	@$(BIN)/python tests/demo.py

demo-down: $(VENV)/.runtime ## Stop what the demo left running and remove it
	@$(BIN)/python tests/demo.py --down

chaos: $(VENV)/.runtime ## Break the demo's running agent: FAULT=trainer-sigsegv GAME=Pong (default: a random signal; see tests/faults)
	@$(BIN)/python tests/faults inject $(or $(FAULT),any) $(if $(GAME),--game $(GAME)) $(if $(HOST_DIR),--home $(HOST_DIR))

test: lint ## Run every check and every test, with a sample of each large count
	$(PYTEST) $(RETRY)

soak: $(VENV)/.ready ## Run what is too long for every run: all of it, or SHARE=3/10, or SHARE=today
	$(PYTEST) $(RETRY) --soak $(or $(SHARE),all)

lint: $(VENV)/.ready ## Check style, types, architecture and playbooks
	@$(MAKE) --no-print-directory -j2 --output-sync=line lint-python lint-playbooks

lint-python:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-playbooks:
	PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_CONFIG=playbooks/ansible.cfg ansible-lint --offline playbooks inventory/example inventory/local
	$(BIN)/yamllint --strict . .ansible-lint

bench: $(VENV)/.ready ## Run every benchmark in its quick form
	@set -e; for program in tests/bench/*.py; do echo "== $$program"; $(BIN)/python $$program --quick; done

bench-learning: $(VENV)/.ready ## Train Breakout for 15 minutes from a fixed seed and plot the returns beside random and CleanRL's
	@$(BIN)/python tests/bench/learning.py

mutation: $(VENV)/.ready ## Change the code in thousands of ways and see whether the tests notice (MUTATE='journal --gaps'; see tests/mutation)
	@# Not in the dev extra: nothing else needs them. Both are maintained; cosmic-ray's operators are used, not its runs.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut==3.8.1' 'cosmic-ray==8.7.0'
	$(BIN)/python tests/mutation $(MUTATE)

lab: $(VENV)/.ready ## Boot N=3 real hosts here, tnr-0 to tnr-2: VMs and a container (needs root; writes inventory/lab)
	@$(LAB) up $(N)

lab-down: $(VENV)/.ready ## Remove the lab's hosts, and what killed tests left of theirs
	@$(LAB) down

lab-shell: $(VENV)/.ready ## Open a shell that reaches the lab's hosts: ssh tnr-0, rlctl status (CMD='...' runs that instead)
	@$(LAB) shell $(CMD)

format: $(VENV)/.ready ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Two stages: the demo needs no tool that only tests and checks use.
$(VENV)/.runtime: pyproject.toml constraints-cpu.txt
	$(call set_up,$(RUNTIME))
	@touch $@

$(VENV)/.ready: pyproject.toml constraints-cpu.txt
	$(call set_up,$(RUNTIME)$(comma)dev)
	@touch $(VENV)/.runtime $@

comma := ,
define set_up
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "make: $(PYTHON) is missing or older than 3.11; install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Setting up $(VENV) (torch and friends: a few minutes the first time)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@(while sleep 0.9; do printf .; done) & dots=$$!; trap "kill $$dots" EXIT; \
		$(if $(CONSTRAINTS),$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --no-deps --report - \
		$(CONSTRAINTS) torch 2>/dev/null | grep -q '"version": "[^"]*+cpu"' || echo "$$CUDA_NOTICE";) \
		$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off $(CONSTRAINTS) -e '.[$(1)]' \
		| sed -u -n -e 's/^Collecting /  collecting /p' -e 's/^Successfully/\n  successfully/p'; exit $${PIPESTATUS[0]}
endef

define CUDA_NOTICE
  There is no GPU here, and pip knows no CPU build of torch: it fetches the one with CUDA, about 5 GB.
  To be spared: Ctrl-C, then PIP_EXTRA_INDEX_URL=<the CPU index named by pytorch.org> make ... (see README).
endef
export CUDA_NOTICE
