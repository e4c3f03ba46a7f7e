#!/usr/bin/env bash
# Runs a script of sdk/js/package.json (lint, fmt, test), once what it needs is
# installed: as package-lock.json says, and only when that has changed, so that a
# second run needs no network. Without Node there is nothing to run; test-deps.sh
# says so, and in CI fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../sdk/js"

min_node=20.12
have=$(node --version 2>/dev/null || true)
if [ "$(printf '%s\n%s\n' "$min_node" "${have#v}" | sort -V | head -n 1)" != "$min_node" ] || ! command -v npm >/dev/null; then
  echo "js: no Node $min_node and npm, so no $1 of sdk/js" >&2
  exit 0
fi
installed=node_modules/.installed
if ! cmp -s package-lock.json "$installed"; then
  npm ci --prefer-offline --loglevel error >&2
  cp package-lock.json "$installed"
fi
exec npm run --silent --loglevel error "$1"
