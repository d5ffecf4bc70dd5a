# Every target is one line of intent; what it needs is installed first, with its progress shown.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR)
# One test process more than there are cores, because tests wait about as long as they compute.
XDIST ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

.DEFAULT_GOAL := help
.PHONY: help setup setup-s3 setup-dev run stop clean check fmt lint types imports migrations openapi docs screenshots chromium test test-fast test-browser test-long bench lock ci

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/bin/uv:
	@echo "setup  making $(VENV) and installing uv"
	@$(PYTHON) -c 'import sys; sys.exit("Crossfade needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"

$(VENV)/.runtime: requirements.lock | $(VENV)/bin/uv
	@echo "setup  installing what the server needs (requirements.lock)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "setup  installing what the tests and checks need (requirements-dev.lock)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.runtime ## install what the server needs
setup-s3: setup ## install what storing code in S3 needs as well
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements-s3.lock

setup-dev: $(VENV)/.dev ## install what the tests and checks need as well

run: setup ## start the embedded stack in the foreground
	@exec $(BIN)/python -m webapp.embedded run

stop: ## stop a stack left in the background
	@$(BIN)/python -m webapp.embedded stop

clean: ## stop the stack and remove its state folder
	@$(BIN)/python -m webapp.embedded clean

# The checks read the settings but reach no server, so any values of the right form do.
check openapi: export CROSSFADE_MODE := test
check openapi: export DJANGO_SECRET_KEY := read-by-checks-only
check openapi: export CROSSFADE_ENCRYPTION_KEYS := AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
check openapi: export MANAGED_WORKER_SECRET := read-by-checks-only
check openapi: export DATABASE_URL := postgres://nobody@127.0.0.1:1/nothing
check openapi: export REDIS_URL := redis://127.0.0.1:1/0

check: setup-dev ## format, lint, types, import contracts, migrations, OpenAPI drift
	@$(BIN)/ruff format --check --quiet . && echo "ok  format"
	@$(BIN)/ruff check --quiet . && echo "ok  lint"
	@$(BIN)/codespell && echo "ok  spelling"
	@$(BIN)/mypy . && echo "ok  types"
	@$(BIN)/lint-imports --no-cache >/dev/null && echo "ok  imports" || { $(BIN)/lint-imports --no-cache; exit 1; }
	@$(BIN)/python manage.py missing_migrations && echo "ok  migrations"
	@$(BIN)/python manage.py openapi --check && echo "ok  openapi"

fmt: setup-dev ## format and apply safe fixes
	@$(BIN)/ruff format --quiet . ; $(BIN)/ruff check --fix --quiet .

openapi: setup-dev ## write docs/openapi.json anew
	@$(BIN)/python manage.py openapi

docs: setup-dev ## write the generated parts of the pages anew
	@$(BIN)/python -m runs.states_doc
	@$(BIN)/python -m bench.pages
	@$(BIN)/python -m tests.fault_matrix

screenshots: setup-dev chromium ## take the pictures of docs/ anew, of the stack that make run has started
	@set -a; . "$${CROSSFADE_VAR:-var}/dev.env"; $(BIN)/python -m tests.screenshots

chromium: setup-dev
	@$(BIN)/python -m tests.chromium

test: setup-dev chromium ## the whole suite on its own servers
	@$(BIN)/python -m pytest -n $(XDIST) -m "not long"

test-fast: setup-dev ## unit and property tests only
	@$(BIN)/python -m pytest tests/unit tests/property -m "not long"

test-browser: setup-dev chromium ## the tests that need a browser only
	@$(BIN)/python -m pytest tests/browser

test-long: setup-dev chromium ## the suite with the full soak, chaos and fuzz sizes
	@CROSSFADE_TEST_LONG=1 $(BIN)/python -m pytest -n $(XDIST)

bench: setup-dev ## measure us beside the peers, writes bench/results/latest.json
	@$(BIN)/python -m bench $(ONLY)

lock: setup ## compile the locks anew
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra server pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra server --extra s3 -c requirements.lock pyproject.toml -o requirements-s3.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra server --extra s3 --extra dev -c requirements-s3.lock pyproject.toml -o requirements-dev.lock
