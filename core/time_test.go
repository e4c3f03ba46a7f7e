package core_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

func TestParseTime(t *testing.T) {
	for s, want := range map[string]string{
		"2026-11-23T10:00:00Z":                "2026-11-23T10:00:00Z",
		"2026-11-23t10:00:00.123456789z":      "2026-11-23T10:00:00.123456789Z",
		"2026-11-23T11:00:00+01:00":           "2026-11-23T10:00:00Z",
		"2026-11-23t11:00:00-00:00":           "2026-11-23T11:00:00Z",
		"1990-12-31T23:59:60Z":                "1991-01-01T00:00:00Z",
		"1990-12-31T15:59:60-08:00":           "1991-01-01T00:00:00Z",
		"2016-12-31t23:59:60.25z":             "2017-01-01T00:00:00.25Z",
		"2026-11-23T10:00:60Z":                "",
		"2026-11-23T10:00:61Z":                "",
		"2026-11-23T23:59:60":                 "",
		"2026-11-23T24:00:00Z":                "",
		"2026-02-30T10:00:00Z":                "",
		"2026-11-23 10:00:00Z":                "",
		"2026-11-23T1:00:00Z":                 "",
		"2026-11-23T10:00:00,5Z":              "",
		"2026-11-23T10:00:00.Z":               "",
		"2026-11-23T10:00:00":                 "",
		"2026-11-23":                          "",
		"20261123T100000Z":                    "",
		"Mon, 23 Nov 2026 10:00:00 GMT":       "",
		"":                                    "",
		"2026-11-23T10:00:60":                 "",
		"2026-11-23T10:00:00Z\n":              "",
		"2026-11-23T10:00:00+23:59":           "2026-11-22T10:01:00Z",
		"2026-11-23T10:00:00+24:00":           "",
		"2026-11-23T10:00:00-24:00":           "",
		"2026-11-23t10:00:00.5+10:60":         "",
		"2026-11-23T10:00:00+25:00":           "",
		"2026-11-23T10:00:00.1\u017f00+00:00": "",
	} {
		got, ok := core.ParseTime(s)
		if ok != (want != "") || ok && (got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC) {
			t.Errorf("%q: %v, %t, want %q", s, got, ok, want)
		}
	}
}

func TestParseEventTime(t *testing.T) {
	for s, ok := range map[string]bool{
		"2026-11-23T10:00:00Z": true, "1678-01-01T00:00:00Z": true, "2262-01-01T00:00:00z": true,
		"0001-01-01T00:00:00Z": false, "0001-01-01t01:00:00+01:00": false, "1677-01-01T00:00:00Z": false, "2263-01-01T00:00:00Z": false, "yesterday": false,
		"1677-09-21T00:12:43.145224Z": false, "1677-09-21T00:12:43.145225Z": true,
		"2262-04-11T23:47:16.854775Z": true, "2262-04-11T23:47:16.854776Z": false,
	} {
		if _, err := core.ParseEventTime(s); (err == nil) != ok || !ok && !errors.Is(err, core.CodeInvalidEventTime) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	f.Add("2016-12-31t23:59:60.25z")
	f.Fuzz(func(t *testing.T, s string) {
		one, ok := core.ParseTime(s)
		if !ok {
			return
		}
		if again, ok := core.ParseTime(one.Format(time.RFC3339Nano)); !ok || !again.Equal(one) {
			t.Errorf("%q is %v, which is %v, %t", s, one, again, ok)
		}
	})
}
