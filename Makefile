# What each target needs and how long it takes is in README.md, "Working on it".
SHELL := /bin/bash
export CGO_ENABLED := 0
export SLOTBOOT_CACHE ?= $(HOME)/.cache/slotboot

ARCHES   := amd64 arm64
GOBUILD  := go build -trimpath -buildvcs=false -ldflags "-s -w"
FIXTURES := qemu-tests/fixtures/make

.PHONY: all build test test-unit test-race test-power deps fixtures demo bench-boot bench-squash bench-delta bench-image vet clean fuzz
all: build

# init first: mkimage carries it. Every boot unpacks it: without inlining (-l) it is 66 KB smaller compressed, and without
# the names and lines of a stack trace (trim) another 150 KB.
build:
	@for arch in $(ARCHES); do GOARCH=$$arch $(GOBUILD) -gcflags=all=-l -o mkimage/embedded/init-$$arch ./init || exit 1; done
	@for arch in $(ARCHES); do go run ./mkimage/internal/trim mkimage/embedded/init-$$arch || exit 1; done
	@mkdir -p bin && cp mkimage/embedded/init-$$(go env GOARCH) bin/init
	$(GOBUILD) -o bin/mkimage ./mkimage
	$(GOBUILD) -o bin/slotctl ./slotctl

deps:
	@$(FIXTURES) deps

fixtures: deps build
	@$(FIXTURES) kernel
	@$(FIXTURES) arm64
	@$(FIXTURES) demo bin/slotctl

test: fixtures
	go vet ./...
	SLOTBOOT_BIN=$(CURDIR)/bin go test -count=1 -timeout 30m ./...

# The plug pulled 50 times under an install and 16 times behind a commit.
test-power: fixtures
	SLOTBOOT_BIN=$(CURDIR)/bin SLOTBOOT_POWER_CUTS=50 go test -count=1 -timeout 3h -v -run PowerCut ./qemu-tests

# Everything but QEMU: under three minutes, no root.
test-unit:
	go test -short ./...

# Every fuzz target for FUZZTIME each. What breaks one is left in its testdata folder, to be committed with the fix; so the
# second try fails again, unless it was only Go's fuzzer that missed its own deadline.
FUZZTIME ?= 30s
fuzz:
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		grep -o '^func Fuzz[A-Za-z0-9]*' $$file | cut -c6- | while read -r name; do \
			one="go test -run ^$$ -fuzz ^$$name$$ -fuzztime $(FUZZTIME) $$(dirname $$file)"; \
			echo "$$one"; $$one </dev/null || $$one </dev/null || exit 1; \
		done || exit 1; \
	done

demo: deps build
	@$(FIXTURES) demo bin/slotctl
	@go run ./qemu-tests/demo

# Needs cgo and gcc.
test-race:
	CGO_ENABLED=1 go test -race -short ./...

# Size and instructions of the initrd against a busybox script, live-boot and dracut.
bench-boot: deps build
	@$(FIXTURES) kernel
	@$(FIXTURES) peers
	@go run ./qemu-tests/bench

# Against mksquashfs and tar2sqfs, on a Debian root.
bench-squash: deps
	@$(FIXTURES) debian
	@go run ./squash/internal/bench

# From a container image to a disk, against umoci, mksquashfs, mkfs and mcopy.
bench-image: fixtures
	@go run ./mkimage/internal/bench -bin bin

# Deltas of Debian roots against xdelta3.
bench-delta: deps build
	@delta/bench

vet:
	gofmt -l . && go vet ./...

clean:
	rm -rf bin mkimage/embedded/init-*
