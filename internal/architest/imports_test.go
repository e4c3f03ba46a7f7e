package architest

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Third-party modules, by the name of their import path.
const (
	btree      = "github.com/tidwall/btree"
	celgo      = "cel.dev/cel-go"
	demangler  = "github.com/ianlancetaylor/demangle"
	dns        = "github.com/miekg/dns"
	compress   = "github.com/klauspost/compress"
	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
	jsonv2     = "github.com/go-json-experiment/json"
	lru        = "github.com/hashicorp/golang-lru/v2"
	memberlist = "github.com/hashicorp/memberlist"
	pgx        = "github.com/jackc/pgx/v5"
	porcupine  = "github.com/anishathalye/porcupine"
	prometheus = "github.com/prometheus/client_golang"
	sys        = "golang.org/x/sys"
	xtime      = "golang.org/x/time"
	wazero     = "github.com/tetratelabs/wazero"
	websocket  = "github.com/gorilla/websocket"
	xnet       = "golang.org/x/net"
	yaml       = "go.yaml.in/yaml/v3"
	xxhash     = "github.com/cespare/xxhash/v2"
)

// row says what a package may import beside the standard library. Entries with a
// dot in their first element are modules and stand for every package in them; the
// others are packages of this module.
type row struct {
	imports []string
	tests   []string // what its tests may import beyond imports and forTests
	any     bool     // nothing is forbidden: the edges, where everything is put together
	testing bool     // the package itself is test code, written as a package to be shared
}

// table is the architecture. A key that ends in "/..." stands for every package
// under it that has no row of its own.
var table = map[string]row{
	"core":                          {},
	"core/ring":                     {imports: []string{xxhash}},
	"core/memory":                   {imports: []string{"core", "core/ring"}, tests: []string{"cluster/arbitertest"}},
	"core/disk":                     {imports: []string{"core", btree, sys}},
	"core/postgres":                 {imports: []string{"core", "core/ring", jsonv2, pgx}, tests: []string{"cluster/arbitertest", "internal/pgtest"}},
	"core/delivery":                 {imports: []string{"core"}},
	"core/subscriptions":            {imports: []string{"core", "core/delivery"}, tests: []string{"core/disk", "core/postgres", "core/subscriptions/expression", "core/subscriptions/jointest", "internal/pgtest"}},
	"core/subscriptions/expression": {imports: []string{"core", "core/subscriptions", celgo, jsonv2}},
	"core/subscriptions/jointest":   {imports: []string{"core", "core/delivery", "core/subscriptions"}, testing: true},
	"core/enginetest":               {imports: []string{"core"}, testing: true},
	"core/logtest":                  {imports: []string{"core"}, testing: true},

	"access": {imports: []string{"core", "core/delivery", "core/subscriptions"}, tests: []string{"core/subscriptions/expression"}},

	"access/keys": {imports: []string{"access", "core", xtime}, tests: []string{"core/postgres", "internal/pgtest"}},
	"access/api":  {imports: []string{"access", "access/keys", "core", "wsapi"}, tests: []string{"wsapi/spectest"}},

	"census":     {imports: []string{"core"}, tests: []string{"core/disk", "core/postgres", "internal/pgtest"}},
	"census/api": {imports: []string{"access", "census", "core", "wsapi"}, tests: []string{"wsapi/spectest"}},

	"scavenge":     {imports: []string{"core"}, tests: []string{"core/disk"}},
	"scavenge/api": {imports: []string{"access", "core", "scavenge", "wsapi"}, tests: []string{"wsapi/spectest"}},

	"wsapi":             {imports: []string{"access", "core", "core/delivery", "core/ring", "core/subscriptions", "wsapi/cloudevents", "wsapi/requests", "wsapi/wire", "wsapi/ws", jsonv2, prometheus}, tests: []string{"sdk", "core/subscriptions/expression", "wsapi/spectest", websocket}},
	"wsapi/ws":          {imports: []string{"access", "core", "core/delivery", "core/subscriptions", "wsapi/requests", "wsapi/wire", prometheus, websocket}},
	"wsapi/requests":    {imports: []string{"access", "core", "core/delivery", "core/subscriptions", "wsapi/wire", lru, prometheus, xtime}},
	"wsapi/cloudevents": {imports: []string{"core", "wsapi/wire", jsonv2}},
	"wsapi/wire":        {imports: []string{"core", compress, jsonv2}},
	"wsapi/dashboard":   {},
	"wsapi/spectest":    {testing: true},

	"cluster":             {imports: []string{"core", "core/delivery", "core/ring", "core/subscriptions", memberlist}, tests: []string{"cluster/ringtest", "core/subscriptions/jointest"}},
	"cluster/formation":   {imports: []string{"core/ring", xnet}, tests: []string{"cluster", dns, memberlist}},
	"cluster/arbitertest": {imports: []string{"cluster", "core", "core/ring"}, testing: true},
	"cluster/ringtest":    {imports: []string{"cluster", "core", "core/ring"}, tests: []string{porcupine}, testing: true},

	"plugins":             {imports: []string{"access", "core", "core/delivery", "core/subscriptions", "plugins/abi", jsonv2}},
	"plugins/abi":         {},
	"plugins/effects":     {imports: []string{"core", "plugins", "plugins/abi", "plugins/outside"}},
	"plugins/outside":     {},
	"plugins/host":        {imports: []string{"core", "core/delivery", "core/subscriptions", "plugins", "plugins/abi", "plugins/effects", "plugins/outside", "plugins/trial", prometheus}, tests: []string{"core/disk", "core/postgres", "internal/pgtest"}},
	"plugins/judge":       {imports: []string{"core", "core/subscriptions", "plugins", "plugins/abi", "plugins/effects"}, tests: []string{"core/delivery", "core/disk", "core/postgres", "core/subscriptions/expression", "internal/pgtest", "plugins/registry", "plugins/wasm/guests", "plugins/wasm/wasmtest"}},
	"plugins/api":         {imports: []string{"access", "core", "plugins", "plugins/abi", "plugins/host", "plugins/output", "plugins/registry", "plugins/validators", "plugins/wasm", "wsapi", "wsapi/wire"}, tests: []string{"core/subscriptions", "core/subscriptions/expression", "plugins/effects", "plugins/stdio", "plugins/wasm/guests", "plugins/wasm/wasmtest", "sdk", "wsapi/spectest", websocket}},
	"plugins/output":      {imports: []string{"core", "plugins", "plugins/abi", prometheus}, tests: []string{"core/disk"}},
	"plugins/stdio":       {imports: []string{"core", "plugins", "plugins/abi", jsonv2}},
	"plugins/registry":    {imports: []string{"core", "plugins", "plugins/abi", "plugins/wasm", jsonschema, sys}, tests: []string{"core/disk", "core/postgres", "internal/pgtest", "plugins/wasm/wasmtest"}},
	"plugins/validators":  {imports: []string{"core", "plugins", "plugins/abi", "plugins/effects"}},
	"plugins/wasm":        {imports: []string{"core", "plugins", "plugins/abi", "plugins/stdio", demangler, sys, wazero}, tests: []string{"plugins/wasm/guests"}},
	"plugins/wasm/guests": {testing: true},
	"plugins/project":     {imports: []string{modulePath, "core", "core/delivery", "core/subscriptions", "plugins", "plugins/abi", "plugins/effects", "plugins/judge", "plugins/trial", "plugins/wasm"}, tests: []string{"core/subscriptions/expression", "internal/toolchains"}},
	"plugins/dev":         {imports: []string{"core", "core/delivery", "core/subscriptions", "plugins", "plugins/project", "plugins/trial"}, tests: []string{"core/subscriptions/expression", "plugins/effects", "plugins/wasm/guests"}},
	"plugins/trial":       {imports: []string{"core", "core/delivery", "core/subscriptions", "plugins", "plugins/abi", "plugins/effects", btree}},

	"plugins/abi/conformance":         {tests: []string{"internal/toolchains", "plugins/abi", "plugins/wasm", "plugins/wasm/wasmtest", "sdk/plugin/testhost"}},
	"plugins/wasm/wasmtest":           {imports: []string{"plugins/wasm"}, testing: true},
	"sdk/plugin/internal/conformance": {imports: []string{"sdk/plugin", "sdk/plugin/json", "sdk/plugin/query"}},

	"sdk":                             {imports: []string{"access", "access/keys", "census", "core", "core/delivery", "core/ring", "core/subscriptions", "plugins", "scavenge", "wsapi/wire", websocket}, tests: []string{"core/subscriptions/jointest", "wsapi"}},
	"sdk/plugin":                      {imports: []string{"plugins/abi", "sdk/plugin/json", "sdk/plugin/testhost"}, tests: []string{"plugins/wasm", "plugins/wasm/wasmtest", "sdk/plugin/internal/probe"}},
	"sdk/plugin/json":                 {},
	"sdk/plugin/query":                {imports: []string{"sdk/plugin"}},
	"sdk/plugin/testhost":             {imports: []string{"plugins/abi"}},
	"sdk/plugin/internal/probe":       {imports: []string{"sdk/plugin", "sdk/plugin/json"}},
	"sdk/plugin/internal/probe/guest": {imports: []string{"sdk/plugin", "sdk/plugin/internal/probe"}},
	"sdk/plugin/plugintest":           {imports: []string{"plugins/abi", "sdk/plugin", "sdk/plugin/testhost"}, tests: []string{"sdk/plugin/json"}},

	"runtime": {imports: []string{
		"access", "access/api", "access/keys", "census", "census/api", "core", "core/memory", "core/disk", "core/postgres", "core/delivery", "core/ring", "core/subscriptions", "core/subscriptions/expression",
		"wsapi", "wsapi/requests", "wsapi/wire", "wsapi/dashboard", "cluster", "cluster/formation", "plugins", "plugins/api", "plugins/host", "plugins/judge", "plugins/output", "plugins/outside", "plugins/registry", "plugins/validators", "plugins/wasm", "runtime/certs", "runtime/secret", "scavenge", "scavenge/api", "sdk", prometheus,
	}, tests: []string{"internal/pgtest", "plugins/abi", "plugins/wasm/guests", "plugins/wasm/wasmtest", "wsapi/spectest", websocket}},

	"runtime/certs":  {imports: []string{"core", "runtime/secret"}},
	"runtime/secret": {imports: []string{yaml}},

	".":            {},
	"cmd/...":      {any: true},
	"examples/...": {any: true},

	"internal/architest":       {},
	"internal/bench":           {any: true},
	"internal/bench/guest/...": {imports: []string{"sdk/plugin"}},
	"internal/localring":       {testing: true},
	"internal/localring/run":   {any: true},
	"internal/pgtest":          {imports: []string{pgx}, testing: true},
	"internal/testbudget":      {},
	"internal/toolchains":      {testing: true},
}

// forTests is what every test may import.
var forTests = []string{
	"core", "core/memory", "core/enginetest", "core/logtest",
	"github.com/google/go-cmp",
	"github.com/rogpeppe/go-internal",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
}

// owners names the packages that may be coupled to a module. It guards the table:
// adding the module to another row is not enough to spread it.
var owners = map[string][]string{
	btree:      {"core/disk", "plugins/trial"},
	celgo:      {"core/subscriptions/expression"},
	compress:   {"wsapi/wire"},
	demangler:  {"plugins/wasm"},
	jsonschema: {"plugins/registry"},
	lru:        {"wsapi/requests"},
	memberlist: {"cluster", "cluster/formation"},
	pgx:        {"core/postgres", "internal/pgtest"},
	porcupine:  {"cluster/ringtest"},
	wazero:     {"plugins/wasm", "internal/bench"},
	websocket:  {"wsapi/ws", "wsapi", "sdk", "plugins/api", "runtime"},
	dns:        {"cluster/formation"},
	xnet:       {"cluster/formation"},
	xtime:      {"access/keys", "wsapi/requests"},
	xxhash:     {"core/ring"},
	yaml:       {"runtime/secret"},
}

// strangers never import each other, in whole or in part. The exceptions are packages that
// may import a stranger: those that are there to join the two.
var (
	strangers          = []string{"cluster", "plugins", "wsapi"}
	strangerExceptions = map[string]string{"plugins/api": "wsapi"}
)

func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		r, ok := rowOf(f.dir())
		if !ok {
			t.Errorf("%s: package %q has no row in the table of internal/architest/imports_test.go;"+
				" changing the architecture starts there", f.name, f.dir())
			continue
		}
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !r.allows(f, imported) {
				t.Errorf("%s:%d: package %q may not import %q (the table is in internal/architest/imports_test.go)",
					f.name, f.line(spec.Pos()), f.dir(), imported)
			}
		}
	}
}

// rowOf finds the row of a package: its own, or else that of the nearest folder
// above it that has one with "/...".
func rowOf(pkg string) (row, bool) {
	if r, ok := table[pkg]; ok {
		return r, true
	}
	for dir := pkg; dir != ""; {
		if r, ok := table[dir+"/..."]; ok {
			return r, true
		}
		dir = dir[:max(0, strings.LastIndexByte(dir, '/'))]
	}
	return row{}, false
}

// allows says whether a file of the row's package may import a path.
func (r row) allows(f sourceFile, imported string) bool {
	if imported == "C" {
		return false // one static binary, built for any platform from any other
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") || r.any {
		return true
	}
	own, isOwn := strings.CutPrefix(imported, modulePath+"/")
	names := r.imports
	if f.isTest() || r.testing {
		names = slices.Concat(names, forTests, r.tests)
		// An external test imports the package that it tests.
		if isOwn && own == f.dir() {
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool {
		if isOwn {
			return own == name
		}
		return imported == name || strings.HasPrefix(imported, name+"/")
	})
}

func TestTableKeepsTheSeams(t *testing.T) {
	for pkg, r := range table {
		if len(r.imports) > 0 && pkg == "core" {
			t.Errorf("core imports %v; it may import the standard library only", r.imports)
		}
		for _, name := range slices.Concat(r.imports, r.tests) {
			if who, ok := owners[name]; ok && !slices.Contains(who, pkg) {
				t.Errorf("%s imports %s, which belongs to %v only", pkg, name, who)
			}
			from, to := stranger(pkg), stranger(name)
			if from != "" && to != "" && from != to && strangerExceptions[pkg] != to {
				t.Errorf("%s imports %s; %v do not import each other", pkg, name, strangers)
			}
		}
	}
}

// stranger is the one of strangers that a package belongs to, or "".
func stranger(pkg string) string {
	top, _, _ := strings.Cut(pkg, "/")
	if slices.Contains(strangers, top) {
		return top
	}
	return ""
}

func TestRowsAllowWhatTheySay(t *testing.T) {
	cases := []struct {
		file, imported string
		want           bool
	}{
		{"core/log.go", "context", true},
		{"core/log.go", "C", false},
		{"core/log.go", btree, false},
		{"core/log.go", modulePath + "/core/memory", false},
		{"core/log_test.go", modulePath + "/core/memory", true},
		{"core/log_test.go", modulePath + "/core", true},
		{"core/log_test.go", "pgregory.net/rapid", true},
		{"core/disk/log.go", modulePath + "/core", true},
		{"core/disk/log.go", "golang.org/x/sys/unix", true},
		{"core/disk/log.go", "golang.org/x/system", false},
		{"core/disk/log.go", modulePath + "/core/memory", false},
		{"core/enginetest/suite.go", "github.com/google/go-cmp/cmp", true},
		{"core/postgres/pool.go", pgx + "/pgxpool", true},
		{"sdk/log.go", modulePath + "/wsapi", false},
		{"sdk/log_test.go", modulePath + "/wsapi", true},
		{"cluster/router.go", modulePath + "/wsapi/wire", false},
		{"cluster/router.go", modulePath + "/wsapi", false},
		{"cmd/gyre/main.go", "github.com/spf13/cobra", true},
	}
	for _, c := range cases {
		f := sourceFile{name: c.file}
		r, ok := rowOf(f.dir())
		if !ok {
			t.Errorf("%s has no row", f.dir())
			continue
		}
		if got := r.allows(f, c.imported); got != c.want {
			t.Errorf("%s importing %q: allowed = %v, want %v", c.file, c.imported, got, c.want)
		}
	}
	if _, ok := rowOf("corelike"); ok {
		t.Error("an unknown package has a row")
	}
}
