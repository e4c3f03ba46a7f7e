// Package spectest holds the descriptions of the API, openapi.json and asyncapi.json, to the code.
package spectest

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Document is what tests look at of a description.
type Document struct {
	Paths      map[string]map[string]Operation
	Operations map[string]Exchange
	Components struct{ Schemas map[string]Schema }
}

// Operation is a method of a path.
type Operation struct {
	OperationID string
	Parameters  []struct {
		Name, In string
		Schema   struct{ Enum []string }
	}
}

// Exchange is what asyncapi.json calls an operation: messages of one direction.
type Exchange struct {
	Action   string // of the node: receive or send
	Messages []struct {
		Ref string `json:"$ref"`
	}
}

// Names are those of the messages.
func (e Exchange) Names() (list []string) {
	for _, m := range e.Messages {
		list = append(list, m.Ref[strings.LastIndexByte(m.Ref, '/')+1:])
	}
	return list
}

// Schema is that of a message or a part of one.
type Schema struct {
	Properties map[string]json.RawMessage
	Enum       []string
}

// Read reads a file.
func Read(t *testing.T, file string) (d Document) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// wildcards are the names in braces in a path.
var wildcards = regexp.MustCompile(`\{(\w+)(?:\.\.\.)?\}`)

// Parameters checks the parameters of a route: query are those that it takes behind its path.
func (d *Document) Parameters(t *testing.T, method, path string, query []string) {
	t.Helper()
	var inQuery, inPath, named []string
	for _, p := range d.Paths[path][strings.ToLower(method)].Parameters {
		switch p.In {
		case "query":
			inQuery = append(inQuery, p.Name)
		case "path":
			inPath = append(inPath, p.Name)
		}
	}
	for _, m := range wildcards.FindAllStringSubmatch(path, -1) {
		named = append(named, m[1])
	}
	slices.Sort(inQuery)
	if known := slices.Sorted(slices.Values(query)); !slices.Equal(known, inQuery) || !slices.Equal(named, inPath) {
		t.Errorf("%s %s: the code has %v and %v, the description has %v and %v", method, path, known, named, inQuery, inPath)
	}
}

// Routes checks that code, each a method and a path, are those of the paths that are said to be its.
func (d *Document) Routes(t *testing.T, code []string, its func(path string) bool) {
	t.Helper()
	var documented []string
	for path, operations := range d.Paths {
		for method := range operations {
			if its(path) {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	Same(t, code, documented)
}

// Bodies checks that schemas have the fields of types.
func (d *Document) Bodies(t *testing.T, types map[string]reflect.Type) {
	t.Helper()
	for name, typ := range types {
		fields := slices.Sorted(slices.Values(jsonFields(typ)))
		if documented := slices.Sorted(maps.Keys(d.Components.Schemas[name].Properties)); !slices.Equal(fields, documented) {
			t.Errorf("%s: the code has %v, the description has %v", name, fields, documented)
		}
	}
}

// Same checks that the description has what the code has, in any order.
func Same(t *testing.T, code, documented []string) {
	t.Helper()
	code, documented = slices.Sorted(slices.Values(code)), slices.Sorted(slices.Values(documented))
	if !slices.Equal(code, documented) {
		t.Errorf("the code has\n%s\nthe description has\n%s", strings.Join(code, "\n"), strings.Join(documented, "\n"))
	}
}

// jsonFields are the names of a struct's fields, and of those that are embedded.
func jsonFields(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Pointer:
			names = append(names, jsonFields(f.Type.Elem())...)
		case f.Anonymous:
			names = append(names, jsonFields(f.Type)...)
		case name != "-":
			names = append(names, name)
		}
	}
	return names
}
