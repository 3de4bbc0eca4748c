# What a user runs: `make demo`, `make test`, `make build`, `make install`. Each does its own set-up on a fresh Debian 12 with Swift 6.3.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: all build wheel install setup guest demo test test-million test-durability test-differential test-sanitized \
        test-memory fuzz test-gdbs lab test-lab examples bench growth notebooks docs lint clean

SWIFT ?= swift
# The extension links the Swift runtime in, so its objects are kept apart from those of the tests.
CORE_SCRATCH := .build/core
CORE := gdb-scripts/iommulens/_core.abi3.so
SCENARIO ?= pgdir-shift

PACKAGES := gdb-multiarch libpython3-dev libsqlite3-dev zlib1g-dev pkg-config qemu-system-misc opensbi \
            gcc-riscv64-linux-gnu libc6-dev-riscv64-cross make python3-venv

all: build

# Installs only what is missing, and asks for nothing when all is there.
setup:
	@missing=; for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "Installing:$$missing"; \
	  sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

# One name leaves the library, PyInit__core: its Swift runtime must not meet another copy inside GDB. The file is replaced
# by renaming, because a running GDB may have the old one mapped.
CORE_FLAGS := -c release --product _core --scratch-path $(CORE_SCRATCH) -Xswiftc -static-stdlib -Xswiftc -use-ld=lld \
              -Xlinker --version-script=Sources/IOMMULensPython/exports.map -Xlinker --gc-sections -Xlinker -s

build: setup
	@$(SWIFT) build $(CORE_FLAGS)
	@cmp -s $(CORE_SCRATCH)/release/lib_core.so $(CORE) || \
	  { cp $(CORE_SCRATCH)/release/lib_core.so $(CORE).new && mv -f $(CORE).new $(CORE); }

# A wheel needs a backend from PyPI to be made, nothing to be used. It runs on every Python from 3.8 on, GDB's own included.
PACKAGER := build/packager
$(PACKAGER)/bin/hatchling: pyproject.toml
	@python3 -m venv --clear $(PACKAGER)
	@$(PACKAGER)/bin/pip install -q --disable-pip-version-check $$(sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml)
	@touch $@

wheel: build $(PACKAGER)/bin/hatchling
	@rm -rf build/wheel
	@$(PACKAGER)/bin/pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheel .
	@ls build/wheel/*.whl

# Into the user's own packages, or into a virtual environment: `make install VENV=venv`. Debian guards its packages
# against pip; the user's are not among them.
install: wheel
	@PIP_BREAK_SYSTEM_PACKAGES=1 $(PACKAGER)/bin/pip --python "$(or $(VENV),$$(command -v python3))" install -q \
	  --disable-pip-version-check --no-index --no-deps --force-reinstall $(if $(VENV),,--user) build/wheel/*.whl
	@echo "Installed. For GDB: source $$("$(if $(VENV),$(VENV)/bin/)python3" -m iommulens --gdb-script)"

# QEMU 10.0 comes from bookworm-backports, once: the one of Debian 12 has no IOMMU.
guest: setup
	@$(MAKE) -s -C lab/guest
	@lab/mainline/fetch-qemu >/dev/null

demo: build guest
	@lab/guest/demo $(SCENARIO)

test: build wheel guest
	@$(SWIFT) build --build-tests
	@SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build

# The dump against the plain one on a million random tables, under the address sanitizer.
TABLES ?= 1000000
MILLION := --package-path Tests/Million --scratch-path .build/million -c release --sanitize=address
test-million:
	@$(SWIFT) build $(MILLION) --build-tests
	@IOMMULENS_TABLES=$(TABLES) SWIFT_BACKTRACE=enable=no $(SWIFT) test $(MILLION) --skip-build \
	  --disable-xctest --filter dumpsOfManyTables

# Kills a recording GDB so many times, and lets six processes use one file for a minute. `make test` does a little of both.
KILLS ?= 200
test-durability: build guest
	@$(SWIFT) build --build-tests
	@IOMMULENS_KILLS=$(KILLS) IOMMULENS_SECONDS=60 SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build \
	  --filter DurabilityTests

# The device's walk against that of the lab's QEMU device, and the specification's against QEMU's processors, on a million
# hostile tables each. `make test` does it with some.
test-differential: setup
	@$(SWIFT) build $(MILLION) --build-tests
	@IOMMULENS_TABLES=$(TABLES) SWIFT_BACKTRACE=enable=no $(SWIFT) test $(MILLION) --skip-build \
	  --disable-xctest --filter DifferentialTests

# The tests under the address and the thread sanitizer; SUITES names some. GDB loads the extension as it is released, so its
# tests have nothing to say here; a sanitizer's pace is none for those that are held against the clock, and it takes over the
# signal by which one ends a program.
SANITIZERS := address thread
SUITES := PageTablesTests|GuestMemoryTests|IOMMUModelTests|LinuxKernelTests|RISCVInterpreterTests|XuanTieTests|$(\
          )InvestigationTests|EvidenceTests|ReportsTests|CommandLineTests|DifferentialTests
UNSUITED := aWholeTableIsOneRange|garbageLengthsAreLeftOut|replaysAreThoseOfSinglePages|linesAreThoseOfSinglePages|$(\
            )aBusErrorElsewhereStillEndsTheProgram
test-sanitized: setup
	@for sanitizer in $(SANITIZERS); do \
	  flags="--sanitize=$$sanitizer --scratch-path .build/$$sanitizer"; \
	  $(SWIFT) build $$flags --build-tests && SWIFT_BACKTRACE=enable=no \
	    TSAN_OPTIONS=suppressions=$(CURDIR)/Tests/thread-sanitizer.supp $(SWIFT) test $$flags --skip-build \
	    --disable-xctest --filter '$(SUITES)' --skip '$(UNSUITED)' || exit 1; \
	done

# Hostile input of every kind for a minute each, or SECONDS; TARGET names one kind. See Tests/Fuzz/README.md.
SECONDS := 60
FUZZ := --package-path Tests/Fuzz --scratch-path .build/fuzz -c release --sanitize=address
fuzz: build guest
	@$(SWIFT) build $(FUZZ)
	@Tests/Fuzz/run $(SECONDS) $(TARGET)

# Every function of the extension a million times, or CALLS, for two minutes at most, or LIMIT seconds: nothing may stay
# behind. PYTHON names another one; Debian's python3-dbg counts all references.
CALLS := 1000000
LIMIT := 120
PYTHON := python3
test-memory: build
	@SWIFT_BACKTRACE=enable=no $(PYTHON) Tests/Fuzz/memory.py $(CALLS) --seconds $(LIMIT)

# The tests that depend on the GDB, in Debian's and in three newer ones. Needs the network: those come from PyPI.
test-gdbs: build wheel guest
	@gdbs=$$(lab/gdbs/install) && python=$$(lab/gdbs/front-ends) && $(SWIFT) build --build-tests && \
	  IOMMULENS_GDBS=$$gdbs IOMMULENS_FRONT_ENDS=$$python SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build \
	  --filter 'CoreModuleTests|InvestigationClassTests|GDBMatrixTests|CompletionTests|PackageTests' && \
	  for gdb in $$(tr : ' ' <<<"$$gdbs"); do \
	    [ $$gdb = gdb-multiarch ] || IOMMULENS_GDB=$$gdb SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build \
	      --filter 'TargetFaultTests|BadInputTests|SecurityTests|CommandErrorTests' || exit 1; \
	  done

# Real kernels with the drivers on QEMUs with the devices: minutes once, then at once.
lab: setup
	@lab/lab build --config all

# Every scenario of the lab, on the console and in the debuggers.
test-lab: build lab
	@$(SWIFT) build --build-tests
	@IOMMULENS_LAB=1 SWIFT_BACKTRACE=enable=no $(SWIFT) test --skip-build --filter LabTests

# docs/examples: a report of every scenario of the lab and of the guest, from real runs; about a minute for each.
examples: build lab guest
	@$(SWIFT) build --product iommulens
	@lab/examples

# One table, a row a goal. With SHORT=1 a minute's worth that fails when a ratio is far off; with GDB_PT_DUMP=FOLDER, a
# checkout of https://github.com/martinradev/gdb-pt-dump, that is measured too.
export GDB_PT_DUMP
bench: setup
	@$(SWIFT) build --package-path Benchmarks -c release && Benchmarks/run $(if $(SHORT),--short)

# docs/growth.png: how the cost of a dump and of a check grows with size. Needs the network, for matplotlib.
growth: setup
	@$(SWIFT) build --package-path Benchmarks -c release
	@mkdir -p build/bench docs && taskset -c 0 Benchmarks/.build/release/benchmarks growth > build/bench/growth.tsv
	@test -x build/bench/python/bin/python || python3 -m venv build/bench/python
	@build/bench/python/bin/pip install -q matplotlib
	@build/bench/python/bin/python Benchmarks/growth.py build/bench/growth.tsv docs/growth.png

# Runs the notebooks, one of them on the guest; what they say and draw must be what is committed. `make notebooks RECORD=1`
# takes the new outputs over.
notebooks: build guest
	@notebooks/run $(if $(RECORD),--record)

# docs/commands.md from what the commands say of themselves, and the library's documentation as a site in build/docs, to be
# served by any web server.
DOCUMENTED := PageTables GuestMemory IOMMUModel LinuxKernel XuanTie Investigation Evidence Reports
docs: build
	@$(SWIFT) build --product iommulens
	@gdb-multiarch -nx -batch -x gdb-scripts/iommulens-gdb.py -x docs/commands.py > docs/commands.md.new
	@mv docs/commands.md.new docs/commands.md
	@rm -rf build/docs && mkdir -p build
	@$(SWIFT) package --allow-writing-to-directory build/docs generate-documentation --warnings-as-errors \
	  $(DOCUMENTED:%=--target %) --enable-experimental-combined-documentation --output-path build/docs

lint:
	@$(SWIFT) format lint --strict --recursive Package.swift Sources Tests Benchmarks/Package.swift Benchmarks/Sources \
	  Tests/Million/Package.swift

clean:
	rm -rf .build build $(CORE)
