# The menu. The logic is in xtask, so that nothing here is needed to build or test.

# List what there is.
default:
    @just --list

# Everything that has to hold before a change lands.
test:
    cargo xtask test

# Quick checks while writing: format, house rules, lints.
check:
    cargo fmt --all --check
    cargo xtask tidy
    cargo clippy --workspace --all-targets -- -D warnings

# Format the code.
fmt:
    cargo fmt --all

# The house rules alone.
tidy:
    cargo xtask tidy

# Licences, sources and yanked versions of the dependencies.
deny:
    cargo xtask deny

# The main job on a small VM, without root and without network.
demo:
    cargo run --release -- demo

# Airlock beside the tools it replaces: scan, transfer or all.
bench what="all":
    cargo xtask bench {{what}}

# Build a test image by hand: planted, pocket, debian or bench.
image kind folder="target/tmp/testkit":
    cargo run --package airlock-testkit --example image -- {{kind}} {{folder}}
