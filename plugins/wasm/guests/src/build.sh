#!/usr/bin/env bash
# Builds the modules in the folder above. Tests do not run it: the modules are committed.
#
#   apt-get install clang-14 lld-14 rustc libstd-rust-dev-wasm32
set -euo pipefail
cd "$(dirname "$0")"

for guest in read totals hostile orders unfit lines; do
  "${CLANG:-clang-14}" --target=wasm32 -O2 -Wall -Werror -Wno-unused-parameter -Wno-infinite-recursion -nostdlib -ffreestanding -mbulk-memory \
    -Wl,--no-entry,--strip-all -o "../$guest.wasm" "$guest.c"
done
"${RUSTC:-/usr/bin/rustc}" --target wasm32-unknown-unknown --crate-type cdylib --edition 2021 \
  -C opt-level=3 -C panic=abort -C lto -C codegen-units=1 -C strip=symbols -o ../words.wasm words.rs
