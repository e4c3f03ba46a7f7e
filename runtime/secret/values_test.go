//go:build unix

package secret

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func writeFile(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	next := file + ".next"
	if err := os.WriteFile(next, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

// TestValues: what changes is taken up within CheckEvery, and what is of no use leaves the secrets
// from before, and is said once, without a value.
func TestValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "secrets.yaml")
		var log bytes.Buffer
		writeFile(t, file, "API_KEY: \"first value\"\n", 0o600)
		v, err := OpenValues(file, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		is := func(want string, valid bool) {
			t.Helper()
			time.Sleep(CheckEvery)
			if got, ok := v.Get("API_KEY"); got != want || ok != (want != "") || v.Valid() != valid {
				t.Errorf("%q, %v, valid %v", got, ok, v.Valid())
			}
		}
		is("first value", true)
		writeFile(t, file, `{"API_KEY":"second value","OTHER":"and another"}`, 0o600)
		if got, _ := v.Get("API_KEY"); got != "first value" {
			t.Errorf("the file was read at once: %q", got)
		}
		is("second value", true)
		if got := v.Names(); !slices.Equal(got, []string{"API_KEY", "OTHER"}) {
			t.Errorf("names %q", got)
		}
		for _, bad := range []struct {
			text string
			mode os.FileMode
		}{{"API_KEY: [third value]", 0o600}, {"API_KEY: \"third value", 0o600}, {"API_KEY: third value", 0o604}} {
			log.Reset()
			writeFile(t, file, bad.text, bad.mode)
			is("second value", false)
			is("second value", false)
			if said := log.String(); strings.Count(said, "of no use") != 1 || strings.Contains(said, "third") || !strings.Contains(said, "level=ERROR") {
				t.Errorf("%q is said as %q", bad.text, said)
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		is("second value", false)
		writeFile(t, file, "# none\n", 0o600)
		is("", true)
	})
}

func TestDecodeValues(t *testing.T) {
	for text, want := range map[string]string{
		"{}": "", "": "", "A: 'quoted value'": "",
		"A: eight888":                     "",
		"A: short":                        "the secret at line 1: its value has 5 bytes, it may have from 8, so that it can be masked in logs, to 65536",
		"A: 123456789012":                 "the secret at line 1: its value is no text; put it in quotes",
		"A: {B: hidden-value}":            "the secret at line 1: its value is no text; put it in quotes",
		"A: hidden-value\nA: other-value": "the secret at line 2: its name is there twice",
		"\"\": hidden-value":              "the secret at line 1: its name is no text of 1 to 128 bytes",
		"- hidden-value":                  `it is no object; the file has lines such as API_KEY: "k3J…"`,
		"A: *hidden-value":                `it is not YAML or JSON; the file has lines such as API_KEY: "k3J…"`,
		"A: \"hidden-value":               `it is not YAML or JSON; the file has lines such as API_KEY: "k3J…"`,
		"&a A: hidden-value\nB: *a":       "the secret at line 2: its value is no text; put it in quotes",
	} {
		got := ""
		if _, err := DecodeValues([]byte(text)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q is refused as %q, want %q", text, got, want)
		}
	}
}

func FuzzDecodeValues(f *testing.F) {
	for _, text := range []string{"A: hidden-value", `{"A":"hidden-value"}`, "A: &x hidden-value\nB: *x", "? [a]\n: hidden-value"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := DecodeValues(text)
		if err != nil && values != nil {
			t.Error("an error has values")
		}
		for name, value := range values {
			if name == "" || len(name) > maxNameBytes || len(value) < minValueBytes || len(value) > maxValueBytes {
				t.Errorf("%q: %q", name, value)
			}
			if err != nil && strings.Contains(err.Error(), value) {
				t.Errorf("%v has a value", err)
			}
		}
	})
}
