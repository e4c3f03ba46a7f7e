package wire

import (
	"encoding/json"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// schema is as much of a JSON Schema as the test looks at.
type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	OneOf      []schema          `json:"oneOf"`
}

// TestAsyncAPIHasTheMessages holds asyncapi.json to the structs, both ways: the ops
// of each side, and the fields of every message down to the last object.
func TestAsyncAPIHasTheMessages(t *testing.T) {
	text, err := os.ReadFile("../docs/asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Operations map[string]struct {
			Messages []struct {
				Ref string `json:"$ref"`
			} `json:"messages"`
		} `json:"operations"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for operation, messages := range map[string]map[string]func() Message{"fromClient": clientMessages, "fromServer": serverMessages} {
		var documented []string
		for _, m := range doc.Operations[operation].Messages {
			documented = append(documented, path.Base(m.Ref))
		}
		slices.Sort(documented)
		if ops := slices.Sorted(maps.Keys(messages)); !slices.Equal(ops, documented) {
			t.Errorf("%s: the code has %v, asyncapi.json has %v", operation, ops, documented)
		}
		for op, newMessage := range messages {
			compare(t, op, doc.Components.Schemas, doc.Components.Schemas[op], reflect.TypeOf(newMessage()).Elem())
		}
	}
}

func compare(t *testing.T, where string, schemas map[string]schema, s schema, typ reflect.Type) {
	if s.Ref != "" {
		s = schemas[path.Base(s.Ref)]
	}
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && s.Items != nil {
		if typ.Kind() == reflect.Slice {
			compare(t, where+"[]", schemas, *s.Items, typ.Elem())
			return
		}
		typ = typ.Elem()
	}
	if typ == reflect.TypeFor[From]() {
		// Its form is its own to write.
		if names := slices.Sorted(maps.Keys(s.OneOf[1].Properties)); !slices.Equal(names, []string{"after", "cursor", "position", "progress", "time", "version"}) {
			t.Errorf("%s: asyncapi.json has the fields %v", where, names)
		}
		return
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[Time]() {
		return
	}
	fields := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(typ) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" { // unknown fields have none, and what is inline
			fields[name] = f.Type
		}
	}
	if code, documented := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(code, documented) {
		t.Errorf("%s: the code has the fields %v, asyncapi.json has %v", where, code, documented)
		return
	}
	for name, field := range fields {
		compare(t, where+"."+name, schemas, s.Properties[name], field)
	}
}
