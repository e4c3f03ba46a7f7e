package core_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

func TestFromInJSON(t *testing.T) {
	at := time.Date(2026, 11, 23, 8, 0, 0, 500_000_000, time.UTC)
	for text, want := range map[string]core.From{
		`"start"`:                           {},
		`"end"`:                             {Kind: core.FromEnd},
		`{"position":7}`:                    {Kind: core.AfterPosition, N: 6},
		`{"version":1}`:                     {Kind: core.AfterVersion},
		`{"cursor":"a.9"}`:                  {Kind: core.AfterPosition, N: 9, Log: "a"},
		`{"time":"2026-11-23T08:00:00.5Z"}`: {Kind: core.FromTime, Time: at},
	} {
		var got core.From
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		back, err := json.Marshal(want)
		if err != nil || string(back) != text {
			t.Errorf("%+v: %s, %v", want, back, err)
		}
	}
	// What is written in another way.
	for text, want := range map[string]core.From{
		`null`: {}, `"origin"`: {}, `"current"`: {Kind: core.FromEnd},
		`{"position":0}`:           {Kind: core.AfterPosition},
		`{"after":{"position":7}}`: {Kind: core.AfterPosition, N: 7},
		`{"after":{"version":0}}`:  {Kind: core.AfterVersion},
	} {
		var got core.From
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		`{"after":7}`, `{"after":{}}`, `{"after":{"cursor":"a.9"}}`, `{"after":{"position":1,"version":1}}`,
		`{"after":{"position":1},"position":2}`, `{"after":{"position":9007199254740991}}`,
		`7`, `"middle"`, `[]`, `{}`, `{"position":1,"version":1}`, `{"position":-1}`, `{"position":1.5}`,
		`{"position":"1"}`, `{"position":9007199254740992}`, `{"Position":1}`, `{"time":"yesterday"}`, `{"time":1}`, `{"cursor":"x"}`,
	} {
		var got core.From
		if err := json.Unmarshal([]byte(text), &got); !errors.Is(err, core.CodeInvalidCursor) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		`"middle"`:    `"middle" is not a place to begin: it is "start", "end" or an object with one of cursor, position, version, time, after, progress`,
		`{}`:          "a place to begin has one of cursor, position, version, time, after, progress",
		`{"after":7}`: "7 is not a place to begin: it is an object with one of position, version",
	} {
		if err := new(core.From).UnmarshalJSON([]byte(text)); core.AsError(err).Detail != want {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
