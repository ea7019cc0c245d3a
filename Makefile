# Needs Go 1.26, git and a POSIX make; "make test" gets or names the rest.

BIN       = .build/bin
FUZZTIME  = 20s
TESTFLAGS =
LABFLAGS  =
PART      =
VERSION   =
KEY       =
LINT      = $(CURDIR)/$(BIN)/golangci-lint run --allow-parallel-runners -c $(CURDIR)/.golangci.yml ./...

.PHONY: help build demo lab lab-scale check test vet lint fuzz soak bench cross clean tools linter consul template promql packages release test-packages
.DELETE_ON_ERROR:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

build: ## build kvexpress into .build/bin
	@scripts/build $(BIN)/kvexpress

demo: ## show it at work: a store and 50 nodes on this machine
	@scripts/step "building kvexpress" "2 s, the first time 30 s" scripts/build $(BIN)/kvexpress
	@$(BIN)/kvexpress demo

lab: test-packages consul template ## run the hosts-file fleet on this machine: Consul, consul-template, dnsmasq
	@go build -C lab -o ../$(BIN)/lab . && $(BIN)/lab $(LABFLAGS)

lab-scale: test-packages consul template ## run 1,188 agents on this machine, each a process
	@go build -C lab -o ../$(BIN)/lab . && $(BIN)/lab scale $(LABFLAGS)

check: ## the inner loop: vet, lint, unit and script tests; no Consul, nothing is installed
	@$(MAKE) --no-print-directory -j 3 vet lint short

test: ## run vet, lint and every test, with the race detector
	@$(MAKE) --no-print-directory test-packages tools
	@$(MAKE) --no-print-directory -j 3 vet lint race

.PHONY: short race
short:
	@scripts/step "unit and script tests" "20 to 90 s" scripts/modules go test -short -parallel 8 $(TESTFLAGS) ./...

race:
	@CGO_ENABLED=1 scripts/step "all tests with the race detector" "10 min" \
		scripts/modules $(CURDIR)/scripts/go-test -race -timeout 20m $(TESTFLAGS)

vet: ## run go vet on all modules
	@scripts/step "go vet" "10 s, the first time 1 min" scripts/modules go vet ./...

lint: linter ## check style and the layers between packages
	@scripts/step "golangci-lint" "15 s, the first time 2 min" scripts/modules $(LINT)

fuzz: ## run every fuzz target for FUZZTIME, 20s if not given
	@scripts/fuzz $(FUZZTIME)

soak: test-packages tools ## run the tests at full length: PART=1 to PART=8, each at most an hour, or all
	@scripts/soak $(PART)

bench: consul template ## measure and print the numbers that the documents quote
	go test -C bench -run "^$$" -bench . -benchtime 1x -timeout 2h

cross: ## build for every platform, and check the Linux binaries
	@scripts/step "builds for every platform" "10 s, the first time 3 min" scripts/cross

packages: build ## build deb, rpm, apk and tar.gz for Linux into .build/packages
	@scripts/cross linux/amd64 && scripts/cross linux/arm64
	@go run -C tools/release . packages

release: ## make, sign and verify all files of the release VERSION; KEY is the file of an SSH key
	@scripts/release "$(VERSION)" "$(KEY)"

tools: consul template linter promql ## build what the tests need, once for all clones

clean: ## remove all that make built in this clone
	rm -rf .build

# A Consul on PATH, or at KVEXPRESS_TEST_CONSUL, saves the build.
consul:
	@scripts/have-consul || scripts/build-tool tools/consul github.com/hashicorp/consul consul "4 min"

# What the agent is measured against, and a client of serve in the tests.
template:
	@scripts/build-tool tools/consul-template github.com/hashicorp/consul-template consul-template "40 s"

linter:
	@scripts/build-tool tools/lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint golangci-lint "2 min"

# Prometheus' engine, which runs the dashboard and the alert rules.
promql:
	@scripts/build-tool tools/promql . promql "1 min"

test-packages:
	@scripts/test-packages
