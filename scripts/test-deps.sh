#!/usr/bin/env bash
# Checks what the tests need, and installs it where it may.
#
#   stdout  NAME=value lines for the environment of the tests
#   stderr  words for a person
#
# It may install when it runs as root on a machine with apt-get, unless
# GYRE_NO_INSTALL=1. What is still missing then is named together with the way to
# get it: with CI=true that is a failure, elsewhere the tests that need it are
# left out. Without Go itself nothing goes.
#
# One function for each dependency, called at the end of this file.
set -euo pipefail

min_go=1.26
min_node=20.19 # scripts/dashboard.sh, and engines of wsapi/dashboard/package.json
failed=0

say() { echo "test-deps: $*" >&2; }

# lacking WHAT HOW-TO-GET-IT: a dependency that some tests can do without.
lacking() {
  say "$1 is missing. $2"
  if [ "${CI:-}" = true ]; then
    failed=1
  fi
}

# install PACKAGE...: fails when installing is not possible or not allowed.
install() {
  if [ "$(id -u)" != 0 ] || [ "${GYRE_NO_INSTALL:-}" = 1 ] || ! command -v apt-get >/dev/null; then
    return 1
  fi
  say "installing $*"
  {
    apt-get update -q &&
      DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
  } </dev/null >&2
}

# at_least HAVE WANT: compares version numbers.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

need_go() {
  local how="Install Go $min_go or newer: https://go.dev/doc/install"
  if ! command -v go >/dev/null; then
    say "Go is missing. $how"
    exit 1
  fi
  local have
  have=$(go env GOVERSION)
  have=${have##*go}
  if ! at_least "${have%%[!0-9.]*}" "$min_go"; then
    say "Go $have is too old. $how"
    exit 1
  fi
}

# The race detector is linked by a C compiler.
need_c_compiler() {
  local cc
  cc=$(go env CC)
  if ! command -v "$cc" >/dev/null && ! { install gcc libc6-dev && command -v "$cc" >/dev/null; }; then
    lacking "a C compiler ($cc)" \
      "The race detector needs one: apt-get install gcc libc6-dev, or set CC. Testing without it."
    echo "GYRE_TEST_RACE="
    return
  fi
  # Go turns cgo off by itself when it finds no compiler, and leaves it off when told to.
  echo "CGO_ENABLED=1"
  echo "GYRE_TEST_RACE=-race"
}

# Network namespaces, which only root can make.
need_ip() {
  if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ] || command -v ip >/dev/null || { install iproute2 && command -v ip >/dev/null; }; then
    return
  fi
  lacking "ip" "Install it, apt-get install iproute2. Testing without broken networks."
}

# What checks the unit for systemd.
need_systemd_analyze() {
  if [ "$(uname -s)" != Linux ] || command -v systemd-analyze >/dev/null || { install systemd && command -v systemd-analyze >/dev/null; }; then
    return
  fi
  lacking "systemd-analyze" "Install it, apt-get install systemd. Testing without the unit for systemd."
}

# A server's programs, to start private servers from; or a server that is there.
need_postgres() {
  if [ -n "${GYRE_TEST_POSTGRES:-}" ] || has_postgres || { install postgresql && has_postgres; }; then
    return
  fi
  lacking "PostgreSQL (initdb, pg_ctl)" \
    "Install the server, apt-get install postgresql, or set GYRE_TEST_POSTGRES to the URL of one to test on. Testing without it."
}

# has_postgres looks where internal/pgtest looks.
has_postgres() {
  local dir
  for dir in /usr/lib/postgresql/*/bin "$(pg_config --bindir 2>/dev/null)" "$(dirname "$(command -v initdb || echo /none)")"; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then
      return 0
    fi
  done
  return 1
}

# PgBouncer, which internal/pgtest puts between a node and its server.
need_pgbouncer() {
  if has_pgbouncer || { install pgbouncer && has_pgbouncer; }; then
    return
  fi
  lacking "PgBouncer" "Install it: apt-get install pgbouncer. Testing without it."
}

has_pgbouncer() { [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null; }

# clang and its linker for modules, for plugins in C. Where internal/toolchains looks.
need_clang() {
  if has_clang || { install clang lld && has_clang; }; then
    return
  fi
  lacking "clang with wasm-ld" "Install them: apt-get install clang lld. Testing without plugins in C."
}

has_clang() { command -v clang >/dev/null && command -v wasm-ld >/dev/null; }

# cargo and the library for modules, for plugins in Rust. A Rust of rustup may lack the library,
# and that of a distribution have it: tests use the one that does.
need_rust() {
  if has_rust || { install cargo rustc libstd-rust-dev-wasm32 && has_rust; }; then
    return
  fi
  lacking "Rust with the target wasm32-unknown-unknown" \
    "Install it: rustup target add wasm32-unknown-unknown, or apt-get install cargo libstd-rust-dev-wasm32. Testing without plugins in Rust."
}

has_rust() {
  local dir libraries
  for dir in "$(dirname "$(command -v rustc || echo /none/rustc)")" /usr/bin; do
    if [ -x "$dir/cargo" ] && libraries=$("$dir/rustc" --print target-libdir --target wasm32-unknown-unknown 2>/dev/null) && [ -d "$libraries" ]; then
      return 0
    fi
  done
  return 1
}

# Node and npm, for sdk/js. Older distributions have a Node that is too old.
need_node() {
  local offered
  if has_node; then
    return
  fi
  offered=$(apt-cache policy nodejs 2>/dev/null | awk '/Candidate:/ { print $2 }')
  if at_least "${offered%%[!0-9.]*}" "$min_node" && install nodejs npm && has_node; then
    return
  fi
  lacking "Node $min_node with npm" "Install it: https://nodejs.org/en/download. Testing without sdk/js and the dashboard."
}

has_node() {
  local have
  have=$(node --version 2>/dev/null) && at_least "${have#v}" "$min_node" && command -v npm >/dev/null
}

# The compiler of AssemblyScript, as its lock file has it, for plugins in that language.
need_assemblyscript() {
  local dir installed
  dir=$(dirname "${BASH_SOURCE[0]}")/../sdk/assemblyscript
  installed=$dir/node_modules/.installed
  if ! has_node || cmp -s "$dir/package-lock.json" "$installed"; then
    return
  fi
  if [ "${GYRE_NO_INSTALL:-}" != 1 ] && (cd "$dir" && npm ci --prefer-offline --loglevel error >&2); then
    cp "$dir/package-lock.json" "$installed"
    return
  fi
  lacking "AssemblyScript" "Install it: cd sdk/assemblyscript && npm ci. Testing without plugins in AssemblyScript."
}

# A browser, for the tests of sdk/js that run in one.
need_chromium() {
  local browser
  for browser in "${GYRE_TEST_CHROMIUM:-}" chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null; then
      echo "GYRE_TEST_CHROMIUM=$(command -v "$browser")"
      return
    fi
  done
  if install chromium && command -v chromium >/dev/null; then
    echo "GYRE_TEST_CHROMIUM=$(command -v chromium)"
    return
  fi
  lacking "Chromium" \
    "Install it, apt-get install chromium, or set GYRE_TEST_CHROMIUM to a browser like it. Testing without."
}

need_go
need_c_compiler
need_postgres
need_ip
need_systemd_analyze
need_pgbouncer
need_clang
need_rust
need_node
need_assemblyscript
need_chromium
exit "$failed"
