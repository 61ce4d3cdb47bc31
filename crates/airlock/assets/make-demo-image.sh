#!/bin/sh
# Makes demo.img.zst anew: the disk that `airlock demo` unpacks where mke2fs is not installed.
# Needs mke2fs (Debian: e2fsprogs) and zstd. Run it from this folder.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -e demo.img.zst ] || : > demo.img.zst
cargo run --quiet --release --package airlock -- demo --image-only "$work/demo.img"
zstd --quiet --force -19 "$work/demo.img" -o demo.img.zst
ls -l demo.img.zst
