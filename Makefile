# Everything is a target here; CI calls the same ones. "make" alone lists them.

GO             ?= go
GOLANGCI       ?= $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
# Without the service discoveries, which rules don't need and which take as long again to build.
PROMTOOL       ?= $(GO) run -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool@v0.316.0
ACTIONLINT     ?= $(GO) run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
GORELEASER     ?= $(GO) run github.com/goreleaser/goreleaser/v2@v2.16.0
GOVULNCHECK    ?= $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0
GRYPE          ?= $(GO) run github.com/anchore/grype/cmd/grype@v0.121.3
CRANE          ?= $(GO) run github.com/google/go-containerregistry/cmd/crane@v0.22.1
# Newer ones need a newer Go. Without the extended build's Sass and WebP, which need a C compiler.
HUGO           ?= $(GO) run github.com/gohugoio/hugo@v0.165.0
FUZZTIME       ?= 10s
TESTFLAGS      ?=
BENCHFLAGS     ?=
PAGEFLAGS      ?=
SCALETIME      ?= 3m

# The worker's module, and those that keep what only they need out of its go.mod. Each names the worker's by a replace line.
# Four more are apart: deploy/kubernetes/check, deploy/helm/check and deploy/prometheus/check, since what they compile takes
# minutes, and docs/site/check, which wants a built site.
MODULES        := . deploy bench examples

BUILD_DEMO     = scripts/waiting "building the demo (the first time it takes some minutes)" $(GO) -C examples build -o ../bin/demo ./demo

# Go stamps programs with the commit, and refuses to build where git does: in a
# checkout of another user, for one. Build without the stamp there.
ifeq ($(shell git rev-parse --verify HEAD >/dev/null 2>&1 && git status --short >/dev/null 2>&1 && echo stamp),)
export GOFLAGS := $(GOFLAGS) -buildvcs=false
endif

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## check Go, Postgres (the system's, and a 17), PgBouncer, Chromium and Node; offer to install what is missing
	@scripts/deps --tests --postgres 17

.PHONY: servers
servers:
	@scripts/deps

# Nothing fails without: it says what is not tested then, since go test keeps the log of what passes for itself.
.PHONY: history
history:
	@git rev-parse -q --verify 'HEAD~1^{commit}' >/dev/null 2>&1 || test -n "$$LETHE_UPDATE_FROM" || echo "NOTE: no older commit here (a shallow clone?): TestScale's rolling update will be a mere restart. See LETHE_UPDATE_FROM in CONTRIBUTING.md."

.PHONY: build
build: ## build bin/worker
	$(GO) build -o bin/worker ./cmd/worker

.PHONY: test
test: deps history ## run all tests against real servers
# Compile everything with all cores first, but link nothing: go test links each test again. Then a package at a time: each has more
# servers and workers of its own than two cores carry. deploy without the cache, which doesn't see the files outside of the module that
# it reads.
	-@for m in $(MODULES); do $(GO) -C $$m list -test -export -f '' ./... >/dev/null; done
	@failed=; for m in $(MODULES); do \
		count=; if [ $$m = deploy ]; then count=-count=1; fi; \
		echo "$(GO) -C $$m test $(TESTFLAGS) -p 1 $$count ./..."; $(GO) -C $$m test $(TESTFLAGS) -p 1 $$count ./... || failed="$$failed $$m"; \
	done; test -z "$$failed" || { echo "tests failed in:$$failed"; exit 1; }

.PHONY: test-clients
test-clients: deps ## test the clients of examples/clients in Python and Java, too (needs python3, java, mvn and their registries)
	LETHE_TEST_CLIENTS="python java" $(GO) -C examples test -count=1 $(TESTFLAGS) ./clients

.PHONY: test-unit
test-unit: ## run the tests of the packages that need no server
	@for m in $(MODULES); do \
		$(GO) -C $$m test $(TESTFLAGS) $$($(GO) -C $$m list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | grep -v internal/localstack | cut -d ' ' -f 1) || exit 1; \
	done

.PHONY: test-matrix
test-matrix: deps ## the tests against each supported Postgres and nats-server, hours (MATRIX="pg13 nats2.14.0"); see docs/versions.md
	@TESTFLAGS='$(TESTFLAGS)' scripts/test-matrix

.PHONY: race
race: deps history ## run all tests with the race detector (needs a C compiler)
	@for m in $(MODULES); do CGO_ENABLED=1 $(GO) -C $$m test -race $(TESTFLAGS) -p 1 ./... || exit 1; done

.PHONY: lint
lint: ## check formatting, vet, and run golangci-lint
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt -w these: $$unformatted"; exit 1; }
	@for script in scripts/deps scripts/promtool scripts/bench-tuning scripts/waiting deploy/postgres/*.sh deploy/kubernetes/operator deploy/kubernetes/setup-app scripts/quickstart-kubernetes scripts/release scripts/pin-images .ci/run internal/localstack/*.sh; do sh -n "$$script" || exit 1; done
	@bash -n scripts/test-compose
	@bash -n scripts/test-matrix
	$(ACTIONLINT) -shellcheck= -pyflakes=
	@for m in $(MODULES); do $(GO) -C $$m vet ./... || exit 1; done
	$(GO) vet -tags crashpoints ./internal/crash/...
	@for m in $(MODULES); do (cd $$m && $(GOLANGCI) run -c $(CURDIR)/.golangci.yml) || exit 1; done

# A module of its own: nobody who uses the worker's packages should have all of Kubernetes among the dependencies. Without
# the cache, which knows nothing of files outside of the module.
.PHONY: manifests
manifests: ## hold the Kubernetes manifests against Kubernetes's own code, offline, and the Helm chart against them (the first time minutes)
	cd deploy/kubernetes/check && $(GO) vet ./... && $(GO) test -count=1 $(TESTFLAGS) ./...
	cd deploy/helm/check && $(GO) vet ./... && $(GO) test -count=1 $(TESTFLAGS) ./...

.PHONY: manifests-schema
manifests-schema: ## the short form of manifests: render them and the Helm chart, and hold them against their schemas
	cd deploy/kubernetes/check && $(GO) test -count=1 $(TESTFLAGS) ./render ./schema
	cd deploy/helm/check && $(GO) test -count=1 $(TESTFLAGS) ./...

.PHONY: schemas
schemas: ## make those schemas anew, from the modules in deploy/kubernetes/check/go.mod
	cd deploy/kubernetes/check && $(GO) test -count=1 -run='^TestTheSchemasAreThoseOfTheModules$$' ./generate -update

.PHONY: render
render: ## write anew what the overlays come to: deploy/kubernetes/rendered
	cd deploy/kubernetes/check && $(GO) test -count=1 -run='^TestWhatIsRenderedIsKept$$' ./render -update

.PHONY: fmt
fmt: ## format the code
	$(GOLANGCI) fmt

.PHONY: tidy
tidy: ## bring the go.mod files up to date, after a change of imports or versions
	@for m in $(MODULES); do $(GO) -C $$m mod tidy || exit 1; done

.PHONY: fuzz
fuzz: ## fuzz each target for FUZZTIME (10s)
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | while IFS=: read -r file target; do \
		echo "fuzz $${target#func } in $$(dirname "$$file")"; \
		$(GO) -C "$$(dirname "$$file")" test -run='^$$' -fuzz="^$${target#func }\$$" -fuzztime=$(FUZZTIME) . </dev/null || exit 1; \
	done

.PHONY: bench
bench: servers ## measure side by side, 10 minutes: S1, S3, S6, S7, S8
	$(GO) -C bench build -o ../bin/bench .
	bin/bench --scenario S1,S3,S6,S7,S8 --results bench/results $(BENCHFLAGS)

.PHONY: bench-full
bench-full: servers ## measure everything at its full size: most of an hour
	$(GO) -C bench build -o ../bin/bench .
	bin/bench --full --results bench/results $(BENCHFLAGS)

.PHONY: bench-tuning
bench-tuning: servers ## measure what the settings do, half an hour, for docs/tuning.md
	@scripts/bench-tuning $(BENCHFLAGS)

.PHONY: bench-smoke
bench-smoke: servers ## run each benchmark once, small, and draw it
	$(GO) -C bench build -o ../bin/bench .
	@results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && bin/bench --smoke --results "$$results" $(BENCHFLAGS)

.PHONY: bench-go
bench-go: ## benchmark the hot functions, with their allocations
	$(GO) test -run='^$$' -bench=. -benchmem $(TESTFLAGS) ./conversation ./internal/purge ./internal/handler ./internal/broker ./internal/repo

.PHONY: bench-presence
bench-presence: ## 2,000 devices on one instance of the example's presence service
	LETHE_PRESENCE_DEVICES=2000 LETHE_PRESENCE_SECONDS=20 $(GO) -C examples test -count=1 -v -run '^TestPresenceUnderLoad$$' ./chat

.PHONY: scale
scale: servers history ## workers come and go under load, of shards too, and a rolling update: SCALETIME (3m) each
	LETHE_DRILL_TIME=$(SCALETIME) $(GO) test -count=1 -v -parallel 1 -timeout 1h $(TESTFLAGS) -run '^TestScale$$' ./internal/e2e

.PHONY: demo
demo: servers ## the whole job on real servers, in under a minute
	@$(BUILD_DEMO)
	@bin/demo

.PHONY: demo-page
demo-page: servers ## three devices in your browser, on port 8080 (PAGEFLAGS)
	@$(BUILD_DEMO)
	@bin/demo page $(PAGEFLAGS)

.PHONY: screenshot
screenshot: deps ## take the picture of the page in docs/
	LETHE_SCREENSHOT=$(CURDIR)/docs/page.png $(GO) -C examples test -count=1 -run='^TestPage$$/^a_deletion_under_way' ./chat

.PHONY: quickstart-kubernetes
quickstart-kubernetes: ## Lethe on a Kubernetes of its own on this machine (kind or k3d), up to the first deletion
	@scripts/quickstart-kubernetes

.PHONY: test-compose
test-compose: ## run the local stack in Docker: scale, kill, down and up
	@scripts/test-compose

.PHONY: docs
docs: ## build the documentation as a site into bin/docs, and follow its links (the first time builds Hugo: minutes)
	@rm -rf bin/docs
	cd docs/site && $(HUGO) build --quiet --panicOnWarning --destination $(CURDIR)/bin/docs
	@$(GO) -C docs/site/check run . $(CURDIR)/bin/docs $(CURDIR)

.PHONY: docs-serve
docs-serve: ## show the documentation on http://localhost:1313, as you write it
	cd docs/site && $(HUGO) server --disableFastRender --renderToMemory

.PHONY: docs-test
docs-test: docs ## try that site's search in Chromium
	cd docs/site/check && $(GOLANGCI) run -c ../../../.golangci.yml && $(GO) vet ./... && $(GO) test -count=1 $(TESTFLAGS) ./...

# What each of the two promtools does: $(call rules,PROGRAM).
define rules
	$(1) check rules deploy/prometheus/alerts.yml
	$(1) test rules deploy/prometheus/alerts_test.yml
endef

.PHONY: alerts
alerts: ## test alerts, dashboard and runbook (the first time builds promtool: minutes)
	cd deploy/prometheus/check && $(GOLANGCI) run -c ../../../.golangci.yml && $(GO) vet ./... && $(GO) test $(TESTFLAGS) ./...
	$(call rules,$(PROMTOOL))

.PHONY: alerts-rules
alerts-rules: ## the short form of alerts: the rules and their unit tests, by the promtool there is
	$(call rules,PROMTOOL='$(PROMTOOL)' scripts/promtool)

.PHONY: release-check
release-check: ## let goreleaser check .goreleaser.yaml (the first time builds goreleaser: minutes)
	$(GORELEASER) check

.PHONY: release-schema
release-schema: ## write anew the schema that the tests hold .goreleaser.yaml against, after a change of goreleaser's version
	$(GORELEASER) jsonschema -o deploy/goreleaser.schema.json

.PHONY: release-snapshot
release-snapshot: ## build what a release has into dist/, publish nothing; error 3: without images, for want of Docker
	@GORELEASER='$(GORELEASER)' scripts/release --snapshot

.PHONY: release
release: ## publish the release of this commit's tag (docs/versions.md)
	@GORELEASER='$(GORELEASER)' scripts/release

.PHONY: pin-images
pin-images: ## write the digests of the images of others behind their tags
	@CRANE='$(CRANE)' scripts/pin-images

.PHONY: vuln
vuln: ## look for known vulnerabilities in the code that is called (needs vuln.go.dev)
	@for m in $(MODULES); do (cd $$m && $(GOVULNCHECK) ./...) || exit 1; done

.PHONY: image-scan
image-scan: ## look for known vulnerabilities in the images (needs Docker; the first time builds grype: minutes)
	@for image in worker chat; do \
		docker build -q -f deploy/Dockerfile --target $$image -t lethe/$$image:scan . && $(GRYPE) docker:lethe/$$image:scan --only-fixed --fail-on high || exit 1; \
	done

.PHONY: check
check: lint manifests test alerts docs-test release-check demo bench-smoke ## all that CI does, the manifests, the alerts and the release

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
