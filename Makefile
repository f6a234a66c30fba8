# One command for each thing a person wants to do. `make help` lists them.
# A newcomer needs Rust and a C compiler; PostgreSQL is found, installed or skipped with a word (see tests/with-postgres).
.POSIX:
.PHONY: help run demo test sdk-test lint openapi bench check-domain clean

CARGO ?= cargo
# Profiles that `make bench` loads; 1000000 takes about half an hour for both engines, and the five million events of
# `timeline` more than that again (BENCH_FLAGS='--events 500000' for fewer).
PROFILES ?= 1000000
BENCH_FLAGS ?=

# The server beside its tests. Built by itself, libraries they share would have other features, and be compiled twice.
BUILD_ALL = $(CARGO) build --workspace --all-targets

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 12

run: ## build and serve on 127.0.0.1:8080 with an SQLite file in data/
	$(CARGO) run --release --quiet -p people-api -- serve

demo: ## load 1,000 real records into a server of its own, and look around in it
	$(CARGO) build --quiet -p people-api -p people-bench
	$${CARGO_TARGET_DIR:-target}/debug/people-bench demo

test: ## everything that must hold, on both engines
	$(BUILD_ALL)
	tests/with-postgres $(CARGO) test --workspace

sdk-test: ## the public tracking SDKs and webhook library, from their registries, against a running server (python3, node)
	$(BUILD_ALL)
	tests/sdk/webhooks
	tests/sdk/run

lint: check-domain ## formatting, clippy, documentation, purity of the domain
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

check-domain: ## the rules see no database, no HTTP, no runtime
	@for crate in sqlx tokio actix-web; do \
	  if $(CARGO) tree -p people-domain -e normal --prefix none | grep -q "^$$crate v"; then \
	    echo "people-domain must not depend on $$crate" >&2; exit 1; fi; done

openapi: ## regenerate openapi/openapi.json from the handlers
	$(CARGO) run --quiet -p people-api -- openapi > openapi/openapi.json

bench: ## measure the server beside its limits; report/ gets a table, JSON and a chart
	$(CARGO) build --release -p people-api -p people-bench
	PEOPLE_PG_FSYNC=on tests/with-postgres $${CARGO_TARGET_DIR:-target}/release/people-bench run --profiles $(PROFILES) --database both --report report $(BENCH_FLAGS)

clean: ## remove what was built
	$(CARGO) clean
