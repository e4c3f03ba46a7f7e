#!/usr/bin/env bash
# usage: scripts/fuzz.sh TIME PACKAGE...
#
# Runs every fuzz test for TIME, one after the other: `go test -fuzz` takes one
# test of one package. Stops at the first that finds something.
set -euo pipefail

fuzztime=$1
shift

# `go test -list` prints the names of a package's tests, then "ok <package> ...".
list=$(go test -list '^Fuzz' "$@")
tests=$(awk '/^Fuzz/ { names[n++] = $1 }
             /^ok/   { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }' <<<"$list")
if [ -z "$tests" ]; then
  echo "fuzz: no fuzz tests in $*" >&2
  exit 1
fi

while read -r package name; do
  echo "== $package $name"
  # Making each interesting input smaller would take a minute otherwise.
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" -fuzzminimizetime 200x "$package" </dev/null
done <<<"$tests"
