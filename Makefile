# HubRoute: `make run` and `make test` set up everything they need. Wants Python 3.11+ and make, nothing else.

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
DOCS_READY := build/manual/venv/.ready
ASSETS := transports/_dash/static/vendor/.ready
COMPILE = $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url $(if $(UPGRADE),--upgrade)

# Compiled modules are kept, whatever the shell says: a start without them takes twice as long, and the tests start many processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test pictures check bench lock surface assets docs dist clean

help:
	@echo "make run     start the hub on 127.0.0.1:20128 (ARGS='--port 8080' is passed on)"
	@echo "make test    run all tests (ARGS='tests/hub -x' is passed on)"
	@echo "make check   format, lint, types, import rules, house rules"
	@echo "make pictures take pictures of every page of the dashboard into build/pictures, at three widths in both themes"
	@echo "make bench   measure CPU per request against a bare server"
	@echo "make surface write tests/golden/surface.json anew after a meant change of the public surface"
	@echo "make assets  fetch what the dashboard's charts are drawn with, by npm and by hash (run and test do it too)"
	@echo "make docs    make the documentation's pages in build/manual/site, strictly"
	@echo "make dist    build wheel and sdist into dist/"
	@echo "make lock    write the lock files anew (UPGRADE=1 takes newer versions)"
	@echo "make clean   remove the virtual environment and caches; a hub's data is not touched"

run: $(RUN_READY) $(ASSETS)
	@$(BIN)/hubroute serve $(ARGS)

test: $(DEV_READY) $(ASSETS)
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 $(ARGS)

pictures: $(DEV_READY) $(ASSETS)
	@rm -rf build/pictures
	@HUBROUTE_TEST_REQUIRE_BROWSER=1 HUBROUTE_TEST_PICTURES=build/pictures $(BIN)/python -m pytest -q -n auto tests/dashboard/test_browser.py -k test_pages
	@echo "build/pictures"

check: $(DEV_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_house.py

bench: $(DEV_READY)
	@$(BIN)/python -m bench $(ARGS)

surface: $(DEV_READY)
	@$(BIN)/python -m tests.surface

lock: $(UV)
	@printf 'uv==%s\n' $(UV_VERSION) | $(COMPILE) - -o requirements-uv.lock
	@$(COMPILE) pyproject.toml -o requirements.lock
	@$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock
	@$(COMPILE) --group docs -o requirements-docs.lock

clean:
	rm -rf $(VENV) dist build $(dir $(ASSETS)) .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find hub agents skills transports tests -name __pycache__ -type d -prune -exec rm -rf {} +

# uv comes from the index by hash like everything else; it resolves in a second what takes pip minutes (D19).
$(UV): requirements-uv.lock
	@for name in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
		"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { found=$$name; break; }; \
	done; \
	if [ -z "$$found" ]; then echo "error: no Python 3.11 or newer found; install one, or name it with PYTHON=/path/to/python" >&2; exit 1; fi; \
	echo "setting up $(VENV) with $$($$found -V)"; \
	"$$found" -m venv $(VENV) || { echo "error: $$found cannot make virtual environments; on Debian install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(RUN_READY): $(UV) requirements.lock hub/launcher.py
	@$(call install,requirements.lock)
	@$(command)
	@touch $@

$(DEV_READY): $(UV) requirements-dev.lock hub/launcher.py
	@$(call install,requirements-dev.lock)
	@$(command)
	@touch $@

assets: $(ASSETS)

# The pages load nothing from elsewhere; a link that leads nowhere, and a page that is nowhere listed, stop the build.
docs: $(DEV_READY) $(DOCS_READY)
	@$(BIN)/python -m manual build/manual
	@cd build/manual && NO_MKDOCS_2_WARNING=1 venv/bin/mkdocs build -q --strict
	@echo "build/manual/site/index.html"

$(DOCS_READY): $(UV) requirements-docs.lock
	@$(UV) venv -q --clear --python $(BIN)/python build/manual/venv
	@$(call install,requirements-docs.lock,build/manual/venv/bin/python)
	@touch $@

# What builds them is locked with the rest; the time in both archives is a fixed one, so that the same commit gives the same bytes.
dist: $(DEV_READY) $(ASSETS)
	@rm -rf dist
	@$(BIN)/python -m hatchling build -d dist

# Scripts of others come from the npm registry by hash and stay out of the repository (D18). The pages do without them: only the charts
# are then tables, and nothing renews itself.
$(ASSETS): transports/_dash/package.json transports/_dash/package-lock.json
	@mkdir -p build/assets $(@D)
	@cp $^ build/assets
	@if ! command -v npm >/dev/null; then echo "LEFT OUT: the dashboard's charts; there is no npm to fetch them with" >&2; \
	elif cd build/assets && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && npm run -s vendor; then \
		cp vendor/* $(CURDIR)/$(@D) && touch $(CURDIR)/$@; \
	else echo "LEFT OUT: the dashboard's charts; npm could not fetch them" >&2; fi

# A pip mirror that is set up on this machine is uv's too, unless uv has its own.
install = index="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	$(UV) pip install -q --python $(or $(2),$(BIN)/python) --compile-bytecode --require-hashes -r $(1)

# The command of a checkout; an installed wheel brings its own.
command = printf '\#!/bin/sh\nexec "%s/$(BIN)/python" -P "%s/hub/launcher.py" "$$@"\n' "$(CURDIR)" "$(CURDIR)" > $(BIN)/hubroute && chmod 755 $(BIN)/hubroute
