# weft: build, try, test. `make` alone lists the targets.
#
# On a Debian 12 with Go, git and make, `make demo` and `make test` do all
# their own set-up.

SHELL       := /bin/bash -o pipefail
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME    ?= 10s
LINTER      := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
PACKAGES    := openvswitch-switch iperf3 tshark iproute2 iputils-ping bridge-utils docker.io busybox-static dnsmasq-base dropbear-bin nftables iptables openssh-client
COMPILER    := gcc libc6-dev
REPORT      := $(GO) run ./internal/testreport

.PHONY: help deps build demo test test-long race lint conformance fuzz fuzz-path bench bench-micro bench-growth bench-docs cover clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

deps: ## install the Debian packages that tests use (as root; else say which)
	@internal/deps/install.sh $(PACKAGES)

build: ## the program, bin/weft
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/weft ./cmd/weft

PACKAGES    += systemd bash-completion groff-base
PREFIX      ?= /usr/local
UNITDIR     ?= $(PREFIX)/lib/systemd/system
DEB         ?= bin/weft.deb
MAINTAINER  ?= weft maintainers <weft@example.org>
COMMITTED    = $(shell git log -1 --format=%ct 2>/dev/null)

.PHONY: man install uninstall deb

man: ## the manual page of every command, in bin/man
	@rm -rf bin/man
	SOURCE_DATE_EPOCH=$(or $(SOURCE_DATE_EPOCH),$(COMMITTED)) $(GO) run -tags man ./cmd/weft bin/man '$(VERSION)'

install: build man ## program, manual, completion and systemd unit, below DESTDIR, in PREFIX (/usr/local)
	install -D -m 755 bin/weft $(DESTDIR)$(PREFIX)/bin/weft
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 bin/man/*.8
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/doc/weft README.md ARCHITECTURE.md CHANGELOG.md docs/*.md
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	bin/weft completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/weft
	bin/weft completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_weft
	bin/weft completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/weft.fish
	sed 's|@BINDIR@|$(PREFIX)/bin|' internal/install/weft.service >bin/weft.service
	install -D -m 644 -t $(DESTDIR)$(UNITDIR) bin/weft.service
	[ -e $(DESTDIR)/etc/weft/weft.yaml ] || install -D -m 644 -t $(DESTDIR)/etc/weft internal/install/weft.yaml

uninstall: ## what install put there, but for /etc/weft and the state
	rm -rf $(DESTDIR)$(PREFIX)/bin/weft $(DESTDIR)$(PREFIX)/share/doc/weft $(DESTDIR)$(UNITDIR)/weft.service
	rm -f $(DESTDIR)$(PREFIX)/share/man/man8/weft.8 $(DESTDIR)$(PREFIX)/share/man/man8/weft-*.8
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/weft $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_weft $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/weft.fish

deb: build man ## a Debian package, bin/weft.deb (or DEB)
	@rm -rf bin/deb
	$(MAKE) --no-print-directory -o build -o man install DESTDIR=$(CURDIR)/bin/deb PREFIX=/usr UNITDIR=/lib/systemd/system
	gzip -9n bin/deb/usr/share/man/man8/*.8
	SOURCE_DATE_EPOCH=$(or $(SOURCE_DATE_EPOCH),$(COMMITTED),0) internal/install/deb/build.sh bin/deb '$(VERSION)' '$(MAINTAINER)' '$(DEB)'

demo: build ## two hosts and three containers on this machine (as root)
	@bin/weft demo

test: deps ## vet and every test but the long ones, none from a cache; as root also those in namespaces
	$(GO) vet ./...
	$(GO) test -count=1 -json -timeout 30m ./... | $(REPORT)

test-long: deps ## also the tests that take minutes
	$(GO) vet ./...
	WEFT_LONG=1 $(GO) test -count=1 -json -timeout 60m ./... | $(REPORT)

race: deps ## every test under the race detector, which needs a C compiler
	@internal/deps/install.sh $(COMPILER)
	CGO_ENABLED=1 $(GO) test -count=1 -json -race -timeout 30m ./... | $(REPORT)

lint: ## golangci-lint; the first run builds it
	nice -n 19 $(GO) run $(LINTER) run ./...

conformance: deps ## every standard's row against a running switch, beside Linux and Open vSwitch (as root)
	$(GO) run ./internal/conformance

fuzz: ## every fuzz target for FUZZTIME (10s) each
	$(GO) test -list '^Fuzz' ./... \
	| awk '/^Fuzz/ {name[++n] = $$1} /^ok/ {for (i = 1; i <= n; i++) print $$2, name[i]; n = 0}' \
	| while read -r package target; do \
		echo "== $$package $$target" && \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

fuzz-path: ## the whole frame path for a minute (FUZZTIME=30m and the like): any bytes, any virtio header, from containers and peers
	$(GO) test -run '^$$' -fuzz '^FuzzFramePath$$' -fuzztime $(if $(filter file,$(origin FUZZTIME)),1m,$(FUZZTIME)) -fuzzminimizetime 1s ./dataplane

bench: deps build ## weft beside kernel, Open vSwitch and wireguard-go (as root; BENCH='--rounds 3' and the like)
	$(GO) run ./bench $(BENCH)

bench-micro: ## the parts alone, ten times each, for benchstat (MICRO='-bench FDB -count 3' and the like)
	@$(GO) test -run '^$$' -bench . -benchmem -benchtime 200ms -count 10 -timeout 2h $(MICRO) ./fib ./encap ./internal/header ./internal/offload ./internal/policy

bench-growth: deps build ## what more ports, peers, routes and stations cost one switch (as root; BENCH='--only ports')
	$(GO) run ./bench growth $(BENCH)

bench-docs: deps build ## make bench, written into README.md and docs/ (as root)
	$(GO) run ./bench --docs=. $(BENCH)
	$(GO) run ./bench growth --docs=.

cover: deps ## test coverage, daemons in namespaces included; by line in bin/cover.html
	@rm -rf bin/cover && mkdir -p bin/cover
	$(GO) build -cover -coverpkg=./... -o bin/cover/weft ./cmd/weft
	GOCOVERDIR=$(CURDIR)/bin/cover WEFT_BIN=$(CURDIR)/bin/cover/weft \
		$(GO) test -count=1 -json -coverpkg=./... ./... -args -test.gocoverdir=$(CURDIR)/bin/cover | $(REPORT)
	$(GO) tool covdata textfmt -i=bin/cover -o bin/cover.out
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	$(GO) tool cover -func=bin/cover.out | tail -n 1

clean: ## remove what the targets above made
	rm -rf bin
