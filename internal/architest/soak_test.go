package architest

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// soaked are the tests that `make soak` runs.
var soaked = regexp.MustCompile("Soak|Crash|Torture")

// TestSoaksAreRun looks that each test that is longer when GYRE_SOAK is set has a name by which
// `make soak` runs it.
func TestSoaksAreRun(t *testing.T) {
	packages := map[string][]*ast.FuncDecl{}
	for _, f := range sources(t) {
		for _, decl := range f.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && f.isTest() && fn.Body != nil && f.dir() != "internal/architest" {
				packages[f.dir()] = append(packages[f.dir()], fn)
			}
		}
	}
	found := false
	for dir, functions := range packages {
		for name := range soaking(functions) {
			found = true
			if strings.HasPrefix(name, "Test") && name != "TestMain" && !soaked.MatchString(name) {
				t.Errorf("%s: %s reads GYRE_SOAK, and make soak does not run it: its name has no Soak, Crash or Torture", dir, name)
			}
		}
	}
	if !found {
		t.Error("no test reads GYRE_SOAK")
	}
}

// soaking names the functions of a package that read GYRE_SOAK, or call one that does.
func soaking(functions []*ast.FuncDecl) map[string]bool {
	soak := map[string]bool{}
	for grown := true; grown; {
		grown = false
		for _, fn := range functions {
			if !soak[fn.Name.Name] && reads(fn, soak) {
				soak[fn.Name.Name], grown = true, true
			}
		}
	}
	return soak
}

func reads(fn *ast.FuncDecl, soak map[string]bool) (yes bool) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			yes = yes || n.Value == `"GYRE_SOAK"`
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.Ident)
			yes = yes || ok && soak[called.Name]
		}
		return !yes
	})
	return yes
}
