package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
)

// Every commit waits for an answer; from here on that is what a user feels.
const slowRoundTrip = 20 * time.Millisecond

// checkDatabase surveys the database, and judges what there is.
func (a *app) checkDatabase(ctx context.Context, config postgres.Config) []finding {
	config.CallTimeout = a.timeout
	target, err := config.Target()
	if err != nil {
		return nil // the check of the configuration reports it
	}
	s, err := postgres.Inspect(ctx, config)
	if err != nil {
		f := findingOf("postgres", "", err)
		f.Fix = core.AsError(err).Info().Fix
		return []finding{f}
	}
	found := append([]finding{{Check: "postgres", Passed: true, Detail: target.String() + " answers"}},
		judge(&s, config)...)
	if s.ReadOnly || s.Version < postgres.MinServerVersion || s.Encoding != "UTF8" {
		return found // its schema is what the primary has, or it can have none
	}
	return append(found, checkSchema(ctx, config))
}

// judge says what to think of a survey. It is in the order in which one would mend
// what is wrong.
func judge(s *postgres.Survey, config postgres.Config) []finding {
	return []finding{
		judged("version", s.Version >= postgres.MinServerVersion, s.VersionName, "Upgrade the server: 13 is the oldest that will do."),
		judged("encoding", s.Encoding == "UTF8", s.Encoding, "Make a new database: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."),
		judgeRole(s),
		judgePrivileges(s),
		judged("fsync", s.Settings["fsync"] == "on", s.Settings["fsync"],
			"Set fsync = on in postgresql.conf: without it a crash of the machine may lose or damage everything."),
		judged("full_page_writes", s.Settings["full_page_writes"] == "on", s.Settings["full_page_writes"],
			"Set full_page_writes = on in postgresql.conf: without it a crash of the machine may damage pages."),
		judgeCommit(s),
		judgeSettings(s),
		judgeClock(s),
		judgeTimes("latency", "an answer takes", s.RoundTrips, slowRoundTrip, "Run the node nearer to the database: every append waits for an answer."),
		judgeTimes("commits", "a commit takes", s.Commits, slowSync, "Look at the disk of the server's write-ahead log, and at synchronous standbys: every append waits for a commit."),
		judgePooler(s),
		judgeConnections(s, config),
		judgeEncryption(s),
	}
}

// judged is a finding that passes or fails.
func judged(check string, passed bool, detail, fix string) finding {
	f := finding{Check: check, Passed: passed, Detail: detail}
	if !passed {
		f.Fix = fix
	}
	return f
}

// warned is a finding that passes, but for a reason to do better.
func warned(check string, well bool, detail, fix string) finding {
	f := judged(check, well, detail, fix)
	f.Passed, f.Warning = true, !well
	return f
}

func judgeRole(s *postgres.Survey) finding {
	switch {
	case s.Standby:
		return judged("role", false, "a standby, which takes no writes", "Name the primary, or all servers: postgres://host1:5432,host2:5432/…")
	case s.ReadOnly:
		return judged("role", false, "a server that takes no writes", "Set default_transaction_read_only = off, for the server, the database or the user.")
	}
	return judged("role", true, "a primary, which takes writes", "")
}

func judgePrivileges(s *postgres.Survey) finding {
	if len(s.Missing) == 0 {
		return judged("privileges", true, "all that the store needs", "")
	}
	return judged("privileges", false, "missing: "+strings.Join(s.Missing, ", "), "GRANT them to the user of --postgres, or make it the owner of the schema.")
}

func judgeCommit(s *postgres.Survey) finding {
	const check = "synchronous_commit"
	level, standbys := s.Settings[check], s.Settings["synchronous_standby_names"]
	switch {
	case level == "off":
		return judged(check, false, "off", "Take synchronous_commit = off out of the URL: with it a crash loses appends that were acknowledged.")
	case standbys == "":
		return judged(check, true, level+", without synchronous standbys", "")
	}
	return warned(check, level != "local", fmt.Sprintf("%s, with the standbys %s", level, standbys),
		"Set synchronous_commit = on: with local a fail-over may lose appends that were acknowledged.")
}

func judgeSettings(s *postgres.Survey) finding {
	if len(s.Overridden) == 0 {
		return judged("settings", true, "the node overrides no default of the role or the database", "")
	}
	return judged("settings", true, "the node overrides "+strings.Join(s.Overridden, ", "), "")
}

func judgeClock(s *postgres.Survey) finding {
	ahead := s.Ahead.Round(time.Millisecond)
	return warned("clocks", ahead.Abs() <= maxClockSkew, fmt.Sprintf("the server's differs by %s", ahead.Abs()),
		"Synchronize the clocks: events are recorded with the server's time.")
}

func judgeTimes(check, what string, took []time.Duration, slow time.Duration, fix string) finding {
	if len(took) == 0 {
		return judged(check, true, "not measured: the server takes no writes", "")
	}
	l := latencyOf(took)
	return warned(check, l.P50 <= float64(slow)/float64(time.Millisecond), fmt.Sprintf("%s %.2f ms (p90 %.2f ms)", what, l.P50, l.P90), fix)
}

func judgePooler(s *postgres.Survey) finding {
	if !s.Pooler {
		return judged("pooler", true, "none is in between", "")
	}
	detail := "something like PgBouncer is in between: a node cannot find a new primary by itself"
	if s.LosesStatements {
		detail += ", and its prepared statements get lost, so that every call is parsed anew"
	}
	return warned("pooler", false, detail, "It works, and is slower. A node keeps its few connections: connect it directly if you can.")
}

func judgeConnections(s *postgres.Survey, config postgres.Config) finding {
	needs := config.NodeConns()
	detail := fmt.Sprintf("%d are free, a node takes up to %d", s.Connections, needs)
	return warned("connections", s.Connections >= needs, detail, "Raise max_connections, or the limit of the database or user, or lower --postgres-conns.")
}

func judgeEncryption(s *postgres.Survey) finding {
	switch {
	case s.Encrypted:
		return judged("tls", true, "the connection is encrypted", "")
	case s.Local:
		return judged("tls", true, "not encrypted, and does not leave the machine", "")
	}
	return warned("tls", false, "the connection is not encrypted", "Add sslmode=verify-full and, if need be, sslrootcert=FILE to the URL.")
}

// checkSchema says how the store's schema is.
func checkSchema(ctx context.Context, config postgres.Config) finding {
	known, newest, err := postgres.Status(ctx, config)
	if err != nil {
		return findingOf("schema", "", err)
	}
	if newest == 0 && !config.NoMigrate {
		return judged("schema", true, "not there yet: the first start of a node makes it", "")
	}
	detail := fmt.Sprintf("at migration %d, this gyre knows %d", newest, len(known))
	switch {
	case newest < len(known) && config.NoMigrate:
		return judged("schema", false, detail, "gyre migrate up, or start the node without --migrate=false.")
	case newest < len(known):
		return judged("schema", true, detail+"; the next start of a node brings it up to date", "")
	}
	if err := postgres.CheckSchema(ctx, config); err != nil {
		f := findingOf("schema", "", err)
		f.Fix = core.AsError(err).Info().Fix
		return f
	}
	return judged("schema", true, detail, "")
}
