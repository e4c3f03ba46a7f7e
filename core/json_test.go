package core

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestMeasureJSON(t *testing.T) {
	for text, want := range map[string][2]int{
		`1`:                                {0, 1},
		`-12.5e+3`:                         {0, 8},
		`"[[[ 12345"`:                      {0, 0},
		`"\"[1\\"`:                         {0, 0},
		`["\\",[10],[]]`:                   {2, 2},
		`{"a\\\"[":[{"b":123}],"12345":4}`: {3, 3},
		` [ true , null ] `:                {1, 0},
		`[1,[2,[3]],[[[["]"]]]]`:           {5, 1},
	} {
		if depth, number := measureJSON([]byte(text)); depth != want[0] || number != want[1] {
			t.Errorf("%s: %d deep, numbers of %d, want %v", text, depth, number, want)
		}
	}
}

func TestJSONLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + strings.Repeat(`]}`, n/2) }
	for _, c := range []struct {
		name, data, metadata string
		format               Format
		limit                int64
	}{
		{"as deep as may be", nested(MaxJSONDepth), nested(MaxJSONDepth), JSON, 0},
		{"too deep", nested(MaxJSONDepth + 2), "", JSON, MaxJSONDepth},
		{"metadata too deep", "1", nested(MaxJSONDepth + 2), JSON, MaxJSONDepth},
		{"bytes are not looked at", nested(MaxJSONDepth + 2), "", Bytes, 0},
		{"metadata of bytes too deep", "", nested(MaxJSONDepth + 2), Bytes, MaxJSONDepth},
		{"as long as may be", `[` + strings.Repeat("7", MaxJSONNumberBytes) + `,1]`, "", JSON, 0},
		{"a number too long", strings.Repeat("7", MaxJSONNumberBytes+1), "", JSON, MaxJSONNumberBytes},
		{"a long string of digits", `"` + strings.Repeat("7", 10*MaxJSONNumberBytes) + `"`, "", JSON, 0},
	} {
		event := NewEvent{Type: "T", Format: c.format, Data: []byte(c.data), Metadata: []byte(c.metadata)}
		err := (&Commit{Appends: []Append{{Stream: "s", Expect: AnyVersion, Events: []NewEvent{event}}}}).Validate()
		var e *Error
		if (err == nil) != (c.limit == 0) || err != nil && (!errors.As(err, &e) || e.Code != CodeDataTooComplex || e.Limit != c.limit) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// FuzzMeasureJSON compares with what the decoder of the standard library meets.
func FuzzMeasureJSON(f *testing.F) {
	f.Add([]byte(`{"a":[1.5e7,"\"[",{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		gotDepth, gotNumber := measureJSON(text) // must end, whatever the text
		if !json.Valid(text) {
			return
		}
		depth, number, open := 0, 0, 0
		for d := json.NewDecoder(strings.NewReader(string(text))); ; {
			d.UseNumber()
			token, err := d.Token()
			if err != nil {
				break
			}
			switch token := token.(type) {
			case json.Delim:
				if token == '[' || token == '{' {
					open++
				} else {
					open--
				}
				depth = max(depth, open)
			case json.Number:
				number = max(number, len(token))
			}
		}
		if gotDepth != depth || gotNumber != number {
			t.Errorf("%s: %d deep, numbers of %d, want %d, %d", text, gotDepth, gotNumber, depth, number)
		}
	})
}
