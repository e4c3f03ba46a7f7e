#!/usr/bin/env bash
# Runs a script of wsapi/dashboard/package.json (build, lint, fmt, unit, test), once what it needs
# is there: the client of sdk/js, and the packages of package-lock.json. They are installed only
# when that has changed, so that a second run needs no network. Without Node there is no dashboard.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../wsapi/dashboard"

# without WHAT WHY: says that there is no dashboard, which is no reason not to build the rest.
without() {
  echo "dashboard: $2, so no $1. Without the dashboard, gyre serves a page that says how to get it." >&2
}

min_node=20.19
have=$(node --version 2>/dev/null || true)
if [ "$(printf '%s\n%s\n' "$min_node" "${have#v}" | sort -V | head -n 1)" != "$min_node" ] || ! command -v npm >/dev/null; then
  without "$1" "no Node $min_node and npm"
  exit 0
fi

install() {
  local installed=node_modules/.installed
  ../../scripts/js.sh build || return
  if ! cmp -s package-lock.json "$installed"; then
    npm ci --prefer-offline --loglevel error >&2 || return
    cp package-lock.json "$installed"
  fi
}
if ! install; then
  without "$1" "its packages cannot be installed"
  [ "$1" = build ] && [ "${CI:-}" != true ] && exit 0
  exit 1
fi
# The sample plugin of Getting started. Without Go the pages go without it.
if [ "$1" != lint ] && [ "$1" != fmt ] && command -v go >/dev/null; then
  mkdir -p ../../build
  (cd ../../examples/plugins/directories && GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 \
    go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags='-s -w' -o ../../../build/directories.wasm .)
fi
exec npm run --silent --loglevel error "$1"
