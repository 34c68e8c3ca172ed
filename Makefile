# The index of commands. What they need comes from tests/setup, into .tools/.
.DEFAULT_GOAL := help
.PHONY: help build run serve test check fmt lint proto proto-release image-program image sbom check-image check-deploy advisories chart bench bench-peer clean

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

build: ## compile everything, for development
	tests/setup compiler
	cargo build --workspace --all-targets

run: ## build, serve, and run the demo: 18 months of real orders on embedded defaults (SQLite, no log server)
	tests/setup compiler
	cargo run --profile demo --bin rapport -- demo orders

serve: ## build, and serve every target on embedded defaults
	tests/setup compiler buf
	@echo 'For the call printed below, in another terminal: export PATH="$(CURDIR)/.tools/bin:$$PATH"'
	cargo run --bin rapport -- serve

test: ## install what the tests drive, and run them all: both databases, both logs
	tests/setup
	. ./.tools/env && cargo test --workspace --all-features --no-fail-fast

check: lint proto ## everything that needs no server: formatting, lints, spelling, docs, licences, protos, layout
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features
	cargo test --workspace --all-features --test tidy

fmt: ## format the Rust and the protos
	tests/setup compiler buf
	cargo fmt --all
	.tools/bin/buf format --write proto

lint: ## rustfmt, clippy, spelling, licences
	tests/setup compiler typos deny
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	.tools/bin/typos --config .typos.toml
	.tools/bin/cargo-deny --log-level error check bans licenses sources

proto: ## lint the protos and compare them with the last release
	tests/setup buf
	.tools/bin/buf lint proto
	.tools/bin/buf format --diff --exit-code proto
	.tools/bin/buf breaking proto --against proto/released.binpb

proto-release: ## record the protos as released: from now on `make proto` compares with these
	tests/setup buf
	.tools/bin/buf build proto --exclude-source-info --output proto/released.binpb

image-program: ## compile the program of the container image, static
	tests/setup compiler auditable
	deploy/image/program .tools/image/rapport

image: image-program ## build the container image, without a daemon; prints its id
	tests/setup buildah
	deploy/image/build .tools/image/rapport

sbom: image ## list the crates that the image's program is made of, as CycloneDX, into .tools/image/sbom.cdx.json
	tests/setup syft
	.tools/bin/syft scan --quiet file:.tools/image/rapport --output cyclonedx-json=.tools/image/sbom.cdx.json

check-image: image-program ## build the container image twice, look into it, and run it without rights on PostgreSQL and NATS
	tests/setup buildah runc hadolint syft nats postgresql
	.tools/bin/hadolint deploy/image/Dockerfile deploy/image/Dockerfile.prebuilt
	. ./.tools/env && cargo run --package rapport-tests --features image --bin image -- .tools/image/rapport

check-deploy: ## render the chart in every scenario, check what it makes, and live through its life
	tests/setup compiler nats postgresql helm manifests crd trivy gpg prometheus network
	cargo test --package rapport-tests --all-features --test deploy

advisories: ## look the crates up in RustSec's database of known vulnerabilities, which it fetches from the network
	tests/setup deny
	.tools/bin/cargo-deny --log-level error check advisories

chart: ## write the chart's schema, its README and the golden manifests anew
	tests/setup compiler helm
	cargo test --package rapport-tests --all-features --test deploy write -- --ignored

bench: ## measure, print the table, write target/bench.json
	tests/setup compiler nats postgresql duckdb
	. ./.tools/env && cargo run --release --package rapport-tests --features bench --bin bench

bench-peer: ## measure the peer, cqrs-es with postgres-es, and record it for bench
	tests/setup compiler postgresql
	. ./.tools/env && cargo run --release --package rapport-tests --features bench --bin bench -- --record-peer

clean: ## remove what was built; .tools/ stays
	cargo clean
