package core

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// TestEveryCodeIsInTheCatalogue reads the source, so that a new constant without an
// entry fails, and an entry without a constant.
func TestEveryCodeIsInTheCatalogue(t *testing.T) {
	declared := declaredCodes(t)
	for name, code := range declared {
		if want := "Code" + camel(string(code)); name != want {
			t.Errorf("%s is %q, which would be %s", name, code, want)
		}
		i, ok := catalogue[code]
		if !ok || !code.Known() {
			t.Errorf("%s has no entry in the catalogue", name)
			continue
		}
		if i.Title == "" || strings.HasSuffix(i.Title, ".") || !unicode.IsUpper([]rune(i.Title)[0]) {
			t.Errorf("%s: title %q, want a line that begins with a capital and has no full stop", code, i.Title)
		}
		if !strings.HasSuffix(i.Fix, ".") && !strings.HasSuffix(i.Fix, "…") || !unicode.IsUpper([]rune(i.Fix)[0]) {
			t.Errorf("%s: fix %q, want whole sentences", code, i.Fix)
		}
		if i.Status < 400 || i.Status > 599 {
			t.Errorf("%s: status %d", code, i.Status)
		}
		if i.Class > ClassInterrupted {
			t.Errorf("%s: class %d", code, i.Class)
		}
		if i.Code != "" {
			t.Errorf("%s: the entry names %q; Info does that", code, i.Code)
		}
		if info := code.Info(); info.Code != code || info.Title != i.Title {
			t.Errorf("%s: info %+v", code, info)
		}
	}
	codes := Codes()
	if len(codes) != len(declared) || !slices.IsSorted(codes) {
		t.Errorf("Codes has %d codes, %d are declared; sorted: %v", len(codes), len(declared), slices.IsSorted(codes))
	}
	for _, code := range codes {
		if _, ok := declared["Code"+camel(string(code))]; !ok {
			t.Errorf("the catalogue has %q, which is not declared", code)
		}
	}
}

// declaredCodes are the constants of type Code of this package, by name.
func declaredCodes(t *testing.T) map[string]Code {
	file, err := parser.ParseFile(token.NewFileSet(), "catalogue.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	declared := make(map[string]Code)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		for i, name := range spec.Names {
			text, err := strconv.Unquote(spec.Values[i].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[name.Name] = Code(text)
		}
		return true
	})
	if len(declared) < 20 {
		t.Fatalf("found %d codes in catalogue.go", len(declared))
	}
	return declared
}

// camel is snake_case in CamelCase, with initialisms as Go writes them.
func camel(s string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(s, "_") {
		if word == "id" {
			word = "ID"
		}
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

func TestAnUnknownCodeIsLikeInternal(t *testing.T) {
	info := Code("of_tomorrow").Info()
	if info.Code != "of_tomorrow" || info.Status != 500 || info.Title != CodeInternal.Info().Title {
		t.Errorf("%+v", info)
	}
	if Code("of_tomorrow").Known() {
		t.Error("is known")
	}
}
