package main

import (
	"maps"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/postgres"
)

// goodSurvey is of a server with which all is well.
func goodSurvey() *postgres.Survey {
	return &postgres.Survey{
		Version: 150004, VersionName: "15.4", Encoding: "UTF8", Connections: 90, Encrypted: true,
		Settings:   map[string]string{"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "synchronous_standby_names": ""},
		RoundTrips: []time.Duration{time.Millisecond}, Commits: []time.Duration{2 * time.Millisecond},
	}
}

// TestJudge changes one thing at a time: that one is found, and nothing else.
func TestJudge(t *testing.T) {
	for _, f := range judge(goodSurvey(), postgres.Config{}) {
		if f.verdict() != "PASSED" || f.Fix != "" {
			t.Errorf("of a good server: %+v", f)
		}
	}
	set := func(name, value string) func(*postgres.Survey) {
		return func(s *postgres.Survey) {
			s.Settings = maps.Clone(s.Settings)
			s.Settings[name] = value
		}
	}
	for _, c := range []struct {
		check, verdict string
		change         func(*postgres.Survey)
	}{
		{"version", "FAILED", func(s *postgres.Survey) { s.Version = 120017 }},
		{"encoding", "FAILED", func(s *postgres.Survey) { s.Encoding = "SQL_ASCII" }},
		{"role", "FAILED", func(s *postgres.Survey) { s.Standby, s.ReadOnly = true, true }},
		{"role", "FAILED", func(s *postgres.Survey) { s.ReadOnly = true }},
		{"privileges", "FAILED", func(s *postgres.Survey) { s.Missing = []string{"USAGE on schema gyre"} }},
		{"fsync", "FAILED", set("fsync", "off")},
		{"full_page_writes", "FAILED", set("full_page_writes", "off")},
		{"synchronous_commit", "FAILED", set("synchronous_commit", "off")},
		{"synchronous_commit", "PASSED", set("synchronous_commit", "local")},
		{"synchronous_commit", "WARN", func(s *postgres.Survey) {
			set("synchronous_commit", "local")(s)
			s.Settings["synchronous_standby_names"] = "*"
		}},
		{"clocks", "WARN", func(s *postgres.Survey) { s.Ahead = -6 * time.Second }},
		{"latency", "WARN", func(s *postgres.Survey) { s.RoundTrips = []time.Duration{30 * time.Millisecond} }},
		{"commits", "WARN", func(s *postgres.Survey) { s.Commits = []time.Duration{time.Second} }},
		{"pooler", "WARN", func(s *postgres.Survey) { s.Pooler = true }},
		{"connections", "WARN", func(s *postgres.Survey) { s.Connections = 10 }},
		{"tls", "WARN", func(s *postgres.Survey) { s.Encrypted = false }},
		{"tls", "PASSED", func(s *postgres.Survey) { s.Encrypted, s.Local = false, true }},
	} {
		s := goodSurvey()
		c.change(s)
		for _, f := range judge(s, postgres.Config{}) {
			want := "PASSED"
			if f.Check == c.check {
				want = c.verdict
			}
			if f.verdict() != want || (f.Fix == "") != (want == "PASSED") {
				t.Errorf("%s %s: %+v", c.check, c.verdict, f)
			}
		}
	}
}
