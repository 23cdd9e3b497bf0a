# husk: every command of the project. `make help` lists them.
#
# Every target brings what it needs: on a fresh Debian 12 machine, as root, `make test` and
# `make demo` start with the set-up and take seconds for it when asked again.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

# The pinned Node and the tools of the lock file come before whatever the machine has.
export PATH := $(CURDIR)/build/bin:$(CURDIR)/node_modules/.bin:$(PATH)

# Programs that run as users of their own must be able to read what a root with a closed mask builds.
export BASH_ENV := $(CURDIR)/tools/umask.sh

PREFIX ?= /usr
DESTDIR ?=

CC := gcc
CFLAGS := -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -fstack-protector-strong -D_FORTIFY_SOURCE=2
# Static: the guest's root and the jail have no libraries to load.
LDFLAGS := -static
# A program is one file, or the folder that stands here with its name.
C_SOURCES := $(wildcard guest-agent/c/*.c src/jail/c/*.c src/native/c/*.c src/network/c/*.c)
C_HEADERS := $(wildcard guest-agent/c/*.h src/jail/c/*.h src/native/c/*.h)
C_FOLDERS := exec=guest-agent/c/exec jail=src/jail/c/jail relay=guest-agent/c/relay share=src/volumes/c streams=guest-agent/c/streams \
	sys=guest-agent/c/sys
C_PROGRAMS := $(patsubst %.c,build/bin/husk-%,$(notdir $(C_SOURCES))) \
	$(foreach each,$(C_FOLDERS),build/bin/husk-$(firstword $(subst =, ,$(each))))

.PHONY: help setup proto lint-config format check unit integration test demo guest-image programs build-c \
	conformance conformance-labelled crictl bench compat install clean

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
	  printf '  make %-14s %s\n' "$$name" "$$text"; done

setup: ## Install Debian packages, npm packages and the pinned Node
	@tools/setup.sh

proto: setup ## Generate src/gen from proto/
	@tools/proto.sh

lint-config: setup ## Generate .oxlintrc.json from the import table
	@node tools/lint-config.ts

format: setup ## Format the sources and sort their imports
	@biome check --write .

check: setup programs ## The gate: format, lint, types, unused code, unit tests, generated code
	@tools/check.sh

unit: setup programs ## Unit tests only
	@tools/run-tests.sh unit

integration: setup programs guest-image ## Tests with real QEMU, registries and CNI plugins, as root
	@tools/run-tests.sh integration

test: ## Everything: setup, check, guest image, integration; ends with "N passed, N failed"
	@tools/test.sh

demo: setup programs guest-image ## One pod in a virtual machine of its own, over CRI, from nothing
	@node test/demo/main.ts

guest-image: setup programs ## Build the guest's kernel, initrd and root into build/guest-image/current
	@node images/build.ts

programs: $(C_PROGRAMS) ## Compile the C programs and bundle the others, into build/bin
	@node tools/bundle.ts

build-c: programs

vpath %.c guest-agent/c src/jail/c src/native/c src/network/c
build/bin/husk-%: %.c $(C_HEADERS) Makefile | build-dir
	@printf 'programs: %s\n' '$@'
	@$(CC) $(CFLAGS) -o $@ $< $(LDFLAGS)

# Of a program's name and its folder.
define folder_program
build/bin/husk-$(1): $(wildcard $(2)/*.c) $(wildcard $(2)/*.h) $(C_HEADERS) Makefile | build-dir
	@printf 'programs: %s\n' '$$@'
	@$$(CC) $$(CFLAGS) -o $$@ $(wildcard $(2)/*.c) $$(LDFLAGS)
endef
$(foreach each,$(C_FOLDERS),$(eval $(call folder_program,$(firstword $(subst =, ,$(each))),$(lastword $(subst =, ,$(each))))))

.PHONY: build-dir
build-dir: setup
	@mkdir -p build/bin

# CRI_TOOLS: the suite's version, v1.37 or v1.36. RUNS, FOCUS, SEED, REPEAT, PARALLEL, PEER: see test/conformance/main.ts.
CRI_TOOLS ?= v1.37
conformance: setup programs guest-image crictl ## critest on husk; PEER=containerd RUNS=default,websocket,native FOCUS= SEED= REPEAT= PARALLEL=
	@node test/conformance/main.ts --cri-tools '$(CRI_TOOLS)' $(if $(RUNS),--runs '$(RUNS)') \
	  $(if $(FOCUS),--focus '$(FOCUS)') $(if $(SEED),--seed '$(SEED)') $(if $(REPEAT),--repeat '$(REPEAT)') \
	  $(if $(PARALLEL),--parallel '$(PARALLEL)') \
	  $(if $(PEER),--peer '$(PEER)')

conformance-labelled: setup programs guest-image ## The specs of critest labelled [Conformance], as `make test` runs them
	@test/conformance/labelled.sh '$(CRI_TOOLS)'

crictl: ## Build crictl and critest of cri-tools into build/bin/cri-tools-CRI_TOOLS (needs Go)
	@test/conformance/build.sh '$(CRI_TOOLS)'

# Of `make bench`: QUICK=1 in three minutes, ONLY=pods,burst some sections, SET=samples=5 other numbers, OUT=DIR.
BENCH_FLAGS = $(if $(QUICK),--quick) $(if $(ONLY),--only=$(ONLY)) $(if $(SET),--set=$(SET)) $(if $(OUT),--out=$(abspath $(OUT))) $(if $(HOST),--host=$(HOST))

# HOST=user@machine: over there.
bench: setup $(if $(HOST),,programs guest-image) ## Measure beside containerd: 20 minutes, or QUICK=1 in 3 (test/bench/README.md)
	@node test/bench/main.ts $(BENCH_FLAGS)

compat: setup programs guest-image ## Compare containers with runC's, and write docs/compatibility.md; RUNTIMES=native
	@node test/compat/main.ts $(if $(RUNTIMES),--runtimes '$(RUNTIMES)')

install: setup programs guest-image ## Install into DESTDIR/PREFIX (default /usr)
	@tools/install.sh '$(DESTDIR)' '$(PREFIX)'

clean: ## Remove what was built; keep the packages
	rm -rf build/bin/husk* build/bin/bundles.json build/guest-image build/test
