package architest

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// behaviors are those of a ring that Gyre ports, by group: fail-over of subscriptions (L),
// owners of streams (N), quorum (P) and the registry (Q).
func behaviors() (list []string) {
	for _, group := range []string{"L", "N", "P"} {
		for n := range 11 {
			list = append(list, fmt.Sprintf("%s%02d", group, n+1))
		}
	}
	return append(list, "Q01", "Q02", "Q03", "Q06")
}

// leading is the behaviors that the comment of a test begins with.
var leading = regexp.MustCompile(`(?m)^(?:# )?([A-Z]\d\d(?:, [A-Z]\d\d)*): `)

// TestBehaviorsAreTested: for each behavior of a ring there is a test, or a part of a script,
// whose comment begins with its number.
func TestBehaviorsAreTested(t *testing.T) {
	tested := map[string]bool{}
	note := func(comment string) {
		for _, m := range leading.FindAllStringSubmatch(comment, -1) {
			for _, id := range strings.Split(m[1], ", ") {
				tested[id] = true
			}
		}
	}
	for _, f := range sources(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.isTest() && strings.HasPrefix(fn.Name.Name, "Test") {
				note(fn.Doc.Text())
			}
		}
	}
	scripts, err := filepath.Glob("../../cmd/gyre/testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		note(string(text))
	}
	for _, id := range behaviors() {
		if !tested[id] {
			t.Errorf("no test says that it is of %s", id)
		}
	}
}
