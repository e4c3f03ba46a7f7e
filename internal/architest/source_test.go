package architest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const modulePath = "github.com/gyre-events/gyre"

// sourceFile is one Go file of the module.
type sourceFile struct {
	name string // slash-separated, from the module's root
	fset *token.FileSet
	ast  *ast.File
}

// dir is the file's package path from the module's root; the root itself is ".".
func (f sourceFile) dir() string { return path.Dir(f.name) }

func (f sourceFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

func (f sourceFile) line(p token.Pos) int { return f.fset.Position(p).Line }

// lines is how many lines n is long.
func (f sourceFile) lines(n ast.Node) int { return f.line(n.End()) - f.line(n.Pos()) + 1 }

// sources parses every Go file of the module.
func sources(t *testing.T) []sourceFile {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !strings.Contains(string(mod), "module "+modulePath+"\n") {
		t.Fatalf("%s is not the root of module %s: %v", root, modulePath, err)
	}
	var files []sourceFile
	fset := token.NewFileSet()
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipDir(name) {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{filepath.ToSlash(rel), fset, parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipDir says whether the go tool passes over a folder, too: it is hidden, holds
// test data or other people's packages, or is a module of its own.
func skipDir(name string) bool {
	base := filepath.Base(name)
	if base[0] == '.' || base[0] == '_' || base == "testdata" || base == "vendor" || base == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

// parse makes a sourceFile of a text, to test the tests.
func parse(t *testing.T, name, text string) sourceFile {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return sourceFile{name, fset, parsed}
}
