package architest

import (
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// The budgets are where good code keeps itself. Over them is a second function,
// file, interface or struct that wants out.
const (
	maxFunctionLines    = 70
	maxFileLines        = 800
	maxInterfaceMethods = 7
	maxStructFields     = 20
)

// excepted names what may be over its budget, with the reason: a table or a single
// switch that would be no clearer in two. The key is the package, a dot, and the
// name; a method's is Type.Method and a file's is its own. An exception that is no
// longer needed fails the test.
var excepted = map[string]string{}

// nothingNames are package names that say nothing about what is inside.
var nothingNames = []string{
	"base", "common", "helper", "helpers", "misc", "model", "models", "type", "types", "util", "utils",
}

func TestStyle(t *testing.T) {
	unused := maps.Clone(excepted)
	for _, f := range styledSources(t) {
		for _, o := range overBudget(f) {
			if _, ok := excepted[o.key]; ok {
				delete(unused, o.key)
				continue
			}
			t.Errorf("%s:%d: %s has %d %s, the budget is %d", f.name, o.line, o.key, o.got, o.unit, o.max)
		}
	}
	for key := range unused {
		t.Errorf("%s is within its budget or gone: remove its exception", key)
	}
}

func TestNeverDone(t *testing.T) {
	for _, f := range styledSources(t) {
		if name := f.ast.Name.Name; saysNothing(name) || saysNothing(path.Base(f.dir())) {
			t.Errorf("%s: package %s is named after nothing; find the noun", f.name, name)
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" && !isGuest(f) {
					t.Errorf("%s:%d: init function; let a constructor do it", f.name, f.line(d.Pos()))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR && holdsLogger(d) {
					t.Errorf("%s:%d: package-level logger; pass a *slog.Logger in", f.name, f.line(d.Pos()))
				}
			}
		}
	}
}

// isGuest reports whether f is the program of a plugin. It registers its handler in an init
// function: the host runs those, and not main.
func isGuest(f sourceFile) bool {
	return f.ast.Name.Name == "main" && slices.ContainsFunc(f.ast.Imports, func(i *ast.ImportSpec) bool {
		return i.Path.Value == `"`+modulePath+`/sdk/plugin"`
	})
}

// styledSources are the files that people write and that are not tests.
func styledSources(t *testing.T) []sourceFile {
	t.Helper()
	return slices.DeleteFunc(sources(t), func(f sourceFile) bool {
		return f.isTest() || ast.IsGenerated(f.ast)
	})
}

// over is one thing that is over its budget.
type over struct {
	key      string
	line     int
	got, max int
	unit     string
}

func overBudget(f sourceFile) []over {
	var found []over
	check := func(name string, at token.Pos, got, limit int, unit string) {
		if got > limit {
			found = append(found, over{f.dir() + "." + name, f.line(at), got, limit, unit})
		}
	}
	check(path.Base(f.name), f.ast.Package, f.line(f.ast.FileEnd), maxFileLines, "lines")
	for _, decl := range f.ast.Decls {
		name := declName(decl)
		if fn, ok := decl.(*ast.FuncDecl); ok {
			check(name, fn.Pos(), f.lines(fn), maxFunctionLines, "lines")
		}
		// Types inside types and functions count too, under the name around them.
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				name = n.Name.Name
			case *ast.InterfaceType:
				check(name, n.Pos(), countMethods(n), maxInterfaceMethods, "methods")
			case *ast.StructType:
				check(name, n.Pos(), countFields(n.Fields), maxStructFields, "fields")
			}
			return true
		})
	}
	return found
}

// declName is a function's name, a method's Type.Method, or "" for the rest.
func declName(decl ast.Decl) string {
	fn, ok := decl.(*ast.FuncDecl)
	if !ok {
		return ""
	}
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	recv := fn.Recv.List[0].Type
	for {
		switch r := recv.(type) {
		case *ast.StarExpr:
			recv = r.X
		case *ast.IndexExpr:
			recv = r.X
		case *ast.IndexListExpr:
			recv = r.X
		case *ast.Ident:
			return r.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

// countMethods counts the methods that an interface spells out. One that it embeds
// has a budget of its own.
func countMethods(n *ast.InterfaceType) int {
	methods := 0
	for _, m := range n.Methods.List {
		methods += len(m.Names)
	}
	return methods
}

// countFields counts names, and an embedded type as one.
func countFields(list *ast.FieldList) int {
	fields := 0
	for _, f := range list.List {
		fields += max(1, len(f.Names))
	}
	return fields
}

// saysNothing takes "strutil" for what it is, too.
func saysNothing(name string) bool {
	return slices.Contains(nothingNames, name) || strings.HasSuffix(name, "util") || strings.HasSuffix(name, "utils")
}

// holdsLogger says whether a variable declaration makes or holds a logger: its type
// or the outermost call of its value is a Logger's, or one that returns one.
func holdsLogger(d *ast.GenDecl) bool {
	makes := []string{"slog.New", "slog.Default", "slog.With", "log.New", "log.Default"}
	return slices.ContainsFunc(d.Specs, func(spec ast.Spec) bool {
		v, ok := spec.(*ast.ValueSpec)
		if !ok {
			return false
		}
		if name := qualified(v.Type); name == "slog.Logger" || name == "log.Logger" {
			return true
		}
		return slices.ContainsFunc(v.Values, func(e ast.Expr) bool {
			call, ok := e.(*ast.CallExpr)
			return ok && slices.Contains(makes, qualified(call.Fun))
		})
	})
}

// qualified is "package.Name" for an expression like package.Name, with or without
// a star, and "" for any other.
func qualified(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return pkg.Name + "." + sel.Sel.Name
}

func TestBudgetsAreKept(t *testing.T) {
	long := "package p\n" +
		"type I interface { A(); B(); C(); D(); E(); F(); G(); H() }\n" +
		"type S struct { " + strings.Repeat("a, b, c, d, e, f, g int;", 3) + " }\n" +
		"type T[K any] struct{}\n" +
		"func (t *T[K]) Long() {" + strings.Repeat("\n", maxFunctionLines) + "}\n" +
		"func Just() {" + strings.Repeat("\n", maxFunctionLines-1) + "}\n" +
		strings.Repeat("\n", maxFileLines)
	f := parse(t, "core/p.go", long)
	var got []string
	for _, o := range overBudget(f) {
		got = append(got, o.key+" "+o.unit)
	}
	want := []string{"core.p.go lines", "core.I methods", "core.S fields", "core.T.Long lines"}
	if !slices.Equal(got, want) {
		t.Errorf("over budget: %q, want %q", got, want)
	}
}

func TestLoggersAreSeen(t *testing.T) {
	cases := map[string]bool{
		"var l = slog.New(nil)":                   true,
		"var l *slog.Logger":                      true,
		"var ( x = 1; l = log.New(nil, \"\", 0))": true,
		"var x = slog.LevelInfo":                  false,
		"var f = func(l *slog.Logger) {}":         false,
	}
	for src, want := range cases {
		d := parse(t, "p.go", "package p\n"+src).ast.Decls[0].(*ast.GenDecl)
		if got := holdsLogger(d); got != want {
			t.Errorf("%s: holds a logger = %v, want %v", src, got, want)
		}
	}
}
