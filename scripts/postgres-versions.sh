#!/usr/bin/env bash
# usage: scripts/postgres-versions.sh [MAJOR...]
#
# Tests the PostgreSQL engine on a server of each version, or of those named: 12 has
# to be refused, and from 13 on everything has to pass. The binaries are those of
# scripts/postgres-versions/package-lock.json, for Linux on x64; a second run needs
# no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pins=scripts/postgres-versions
dir=build/postgres-versions
mkdir -p "$dir"
if ! cmp -s "$pins/package-lock.json" "$dir/.installed"; then
  cp "$pins/package.json" "$pins/package-lock.json" "$dir"
  (cd "$dir" && npm ci --prefer-offline --loglevel error >&2)
  cp "$pins/package-lock.json" "$dir/.installed"
fi

[ $# -gt 0 ] || set -- 12 13 14 15 16 17 18
failed=
for major in "$@"; do
  export GYRE_TEST_PGBIN="$PWD/$dir/node_modules/postgres-$major/native/bin"
  echo "== $("$GYRE_TEST_PGBIN/postgres" --version)"
  engine=. command=Postgres
  if [ "$major" -lt 13 ]; then
    engine=TestOldServer command=TestOldPostgres
  fi
  go test -count=1 -run "$engine" ./core/postgres || failed+=" $major"
  go test -count=1 -run "$command" ./cmd/gyre || failed+=" $major"
done
if [ -n "$failed" ]; then
  echo "postgres-versions: failed on$failed" >&2
  exit 1
fi
