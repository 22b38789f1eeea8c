# make demo · make test · make soak · make check · make bench · make docs · make clean
# Each sets up .venv first; the second time that costs nothing. PYTHON=… chooses the interpreter.

# The distribution's comes first: it is built with profile-guided optimisation, which one compiled on the spot seldom is.
# vpnrs is up to a fifth faster with it (docs/performance.md).
PYTHON ?= $(shell for p in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done; \
	for p in python3 python3.13 python3.12 python3.11; do command -v $$p 2>/dev/null && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs
BENCHED := $(VENV)/.bench
# Options of one run: make test TESTS=tests/wire · make bench BENCH="--runs 3" · make bench PEERS=all, openvpn as well
TESTS ?=
BENCH ?=
PEERS ?= usual
# Of the part of make bench that measures the NAT64.
BENCH_NAT64 ?=

# Every start of vpnrs would compile its sources anew, 0.25 s of CPU, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test soak check bench docs clean host bench-host
.DEFAULT_GOAL := demo

demo: $(READY) host
	@$(BIN)/vpnrs demo

# Most of the time tests wait, so there are more workers than cores. Those that disturb each other share an xdist_group,
# and so a worker.
test: $(READY) host $(BIN)/promtool $(VENV)/resolvers
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(TESTS)

# Ten minutes under load, with a real Prometheus; its short form is a test. SECONDS=60 RATE=10 for another.
soak: SECONDS := 600
soak: RATE := 60
soak: $(READY) host $(BIN)/promtool
	VPNRS_SOAK_SECONDS=$(SECONDS) VPNRS_SOAK_RATE=$(RATE) $(BIN)/python -m pytest -n 0 tests/soak

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/vpnrs plugins list

bench: $(BENCHED) bench-host
	$(BIN)/python -m bench --peers $(PEERS) $(BENCH)
	$(BIN)/python -m bench.nat64 $(BENCH_NAT64)

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis site build bench/results
	rm -rf *.egg-info plugins/*/*.egg-info plugins/*/build examples/*/*.egg-info examples/*/build
	find vpnrs_core plugins tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-dev.txt pyproject.toml $(wildcard plugins/*/pyproject.toml examples/*/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "vpnrs needs Python 3.11 or newer; none was found. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vpnrs needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

# Prometheus and promtool for tests: taken out of Debian's package, which is not installed, so that no service starts.
$(BIN)/promtool: | $(READY)
	@if command -v apt-get dpkg-deb >/dev/null 2>&1; then \
		echo "unpacking Debian's prometheus into $(VENV)"; \
		place=$$(mktemp -d) && chmod 755 "$$place" && ( cd "$$place" && \
		{ apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } && \
		dpkg-deb -x prometheus_*.deb . ) >/dev/null 2>&1 && \
		cp "$$place"/usr/bin/prometheus "$$place"/usr/bin/promtool $(BIN)/ || \
		echo "Debian's prometheus could not be had: the tests that need it skip" >&2; \
		rm -rf "$$place"; \
	fi

# Debian's resolvers for tests, not installed either: they would take this machine's resolv.conf over.
$(VENV)/resolvers: | $(READY)
	@if command -v apt-get dpkg-deb >/dev/null 2>&1; then \
		echo "unpacking Debian's resolvers into $(VENV)"; \
		place=$$(mktemp -d) && chmod 755 "$$place" && ( cd "$$place" && mkdir new && \
		fits="systemd-resolved=$$(dpkg-query -W -f '$${Version}' systemd)"; \
		get() { apt-get download -qq openresolv resolvconf "$$@"; }; \
		{ get "$$fits" || { apt-get update -qq && { get "$$fits" || get; }; }; } && \
		for deb in *.deb; do dpkg-deb -x "$$deb" "new/$${deb%%_*}" || exit 1; done ) >/dev/null 2>&1 && \
		cp -r "$$place/new" $@ || \
		echo "Debian's resolvers could not be had: the tests that need them skip" >&2; \
		rm -rf "$$place"; \
	fi

$(BENCHED): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

# $(call debian,command=package …): install what is missing, as root on Debian; else say it and go on, for the tests
# that need it skip with a reason.
define debian
@missing=""; for pair in $(1); do command -v "$${pair%%=*}" >/dev/null 2>&1 || missing="$$missing $${pair#*=}"; done; \
if [ -n "$$missing" ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing:$$missing"; \
		{ apt-get install -y -qq --no-install-recommends $$missing || \
		  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; }; } >/dev/null; \
	else echo "missing on this host, and not root on Debian to install it:$$missing" >&2; fi; \
fi
endef

TOOLS := ip=iproute2 iperf3=iperf3 ping=iputils-ping nft=nftables tcpdump=tcpdump ethtool=ethtool tayga=tayga

host: export DEBIAN_FRONTEND := noninteractive
host: export PATH := $(PATH):/usr/sbin:/sbin
host:
	$(call debian,$(TOOLS))

bench-host: export DEBIAN_FRONTEND := noninteractive
bench-host: export PATH := $(PATH):/usr/sbin:/sbin
bench-host: host
	$(call debian,wireguard-go=wireguard-go $(if $(filter all,$(PEERS)),openvpn=openvpn))
