# ia2exit: `make demo` shows it, `make test` proves it; each does the whole set-up first. CONTRIBUTING.md says more.
SHELL := /bin/bash
BUILD := build
BIN := .venv/bin
C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h' '*.cc' '*.cpp' '*.hpp')

.PHONY: help demo test glibcs sanitize lint fmt bench wheel setup build clean

help:
	@echo "make demo   a scribbling library stopped; scan, map and run Python and openssl under the runtime"
	@echo "make test   every C test (ctest), every Python test (pytest), then the lanes: protection keys natively and in a"
	@echo "            guest, newer glibcs and one that is patched to call us;  make glibcs: those of glibcs alone"
	@echo "make sanitize  the C tests under AddressSanitizer, then UndefinedBehaviorSanitizer"
	@echo "make lint   ruff, mypy --strict, clang-format, shell syntax; changes nothing"
	@echo "make fmt    formats Python and C"
	@echo "make bench  every benchmark against its limit"
	@echo "make wheel  builds the wheel and tries it in a fresh environment"
	@echo "make setup  system packages and .venv only;  make build: the C side too;  make clean"

setup:
	@scripts/setup.sh

build: setup
	@test -f $(BUILD)/build.ninja || cmake -G Ninja -B $(BUILD) -S . >/dev/null
	ninja -C $(BUILD)

test: build
	ninja -C $(BUILD) check
	$(BIN)/python -m tests.guest.lane native $(BUILD)
	$(BIN)/python -m tests.guest.lane guest $(BUILD)
	$(call GLIBCS)
	$(BIN)/python -m tests.guest.lane report $(BUILD)

glibcs: build
	$(call GLIBCS)
	$(BIN)/python -m tests.guest.lane report $(BUILD)

define GLIBCS
	$(BIN)/python -m tests.glibcs.lane trixie $(BUILD)
	$(BIN)/python -m tests.glibcs.lane forky $(BUILD)
	$(BIN)/python -m tests.glibcs.lane patched $(BUILD)
endef

sanitize: setup
	scripts/run_with_asan.sh

demo:
	@scripts/setup.sh --no-tests
	@test -f $(BUILD)/build.ninja || cmake -G Ninja -B $(BUILD) -S . >/dev/null
	@ninja -C $(BUILD) --quiet ia2 ia2_audit
	@IA2EXIT_LIBDIR=$(CURDIR)/$(BUILD) scripts/demo.sh $(BIN)/ia2exit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	bash -n scripts/*.sh .ci/run

fmt: setup
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

bench: build
	IA2EXIT_LIBDIR=$(CURDIR)/$(BUILD) $(BIN)/python benchmarks/run_all.py

wheel: setup
	scripts/wheel_smoke.sh $(BIN)/python

clean:
	rm -rf $(BUILD) build-asan build-ubsan dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
