# Needs Go 1.26, git and a POSIX make; "make test" gets or names the rest.

BIN       = .build/bin
FUZZTIME  = 20s
TESTFLAGS =
LABFLAGS  =

.PHONY: help build demo lab test lint fuzz soak bench cross clean tools consul packages
.DELETE_ON_ERROR:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

build: ## build kvexpress into .build/bin
	@scripts/build $(BIN)/kvexpress

demo: ## show it at work: a store and 50 nodes on this machine
	@go run ./cmd/kvexpress demo

lab: packages consul $(BIN)/consul-template ## run the hosts-file fleet on this machine: Consul, consul-template, dnsmasq
	@go run ./cmd/lab $(LABFLAGS)

test: packages tools ## run vet, lint and every test, with the race detector
	go vet ./...
	$(BIN)/golangci-lint run ./...
	CGO_ENABLED=1 go test -race -timeout 20m $(TESTFLAGS) ./...

lint: $(BIN)/golangci-lint ## check style and the layers between packages
	$(BIN)/golangci-lint run ./...

fuzz: ## run every fuzz target for FUZZTIME, 20s if not given
	@scripts/fuzz $(FUZZTIME)

soak: packages tools ## run the tests at full length: hours
	KVEXPRESS_SOAK=1 go test -count=1 -p 1 -timeout 8h $(TESTFLAGS) ./...

bench: consul $(BIN)/consul-template ## measure and print the numbers that the documents quote
	go test -run "^$$" -bench . -benchtime 1x -timeout 2h ./bench

cross: ## build for every platform, and check the Linux binaries
	@scripts/cross

tools: consul $(BIN)/consul-template $(BIN)/golangci-lint ## build what the tests need: Consul (minutes, once), consul-template and the linter

clean: ## remove all that make built
	rm -rf .build

# A Consul on PATH, or at KVEXPRESS_TEST_CONSUL, saves the build.
consul:
	@scripts/have-consul || $(MAKE) -s --no-print-directory $(BIN)/consul

packages:
	@scripts/test-packages

$(BIN)/consul: tools/consul/go.mod tools/consul/go.sum
	@scripts/build-tool tools/consul github.com/hashicorp/consul $@

# What the agent is measured against, and a client of serve in the tests.
$(BIN)/consul-template: tools/consul-template/go.mod tools/consul-template/go.sum
	@scripts/build-tool tools/consul-template github.com/hashicorp/consul-template $@

$(BIN)/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	@scripts/build-tool tools/lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint $@
