package postgres

import (
	"fmt"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Script is the SQL that brings a store from a migration, 0 where there is nothing,
// to the newest one, in one transaction, and then makes optional indexes: what Migrate
// does, for someone who applies it by hand. Applied twice it fails and changes nothing.
func Script(store string, from int, indexes ...string) (string, error) {
	known, err := Migrations(store)
	if err != nil {
		return "", err
	}
	if from < 0 || from > len(known) {
		return "", core.Errorf(core.CodeInvalidRequest, "there is no migration %d; the newest is %d", from, len(known))
	}
	list, err := findIndexes(indexes)
	if err != nil {
		return "", err
	}
	if store == "" {
		store = defaultStore
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- Store %s, from migration %d to %d.\nBEGIN;\n", store, from, len(known))
	fmt.Fprintf(&b, "SELECT pg_advisory_xact_lock(hashtextextended('gyre migrations of %s', 0));\n", store)
	if from == 0 {
		fmt.Fprintf(&b, "CREATE SCHEMA IF NOT EXISTS %s;\n", quoted(store))
		b.WriteString(strings.ReplaceAll(createMigrations, "{schema}", quoted(store)) + ";\n")
	}
	for _, m := range known[from:] {
		fmt.Fprintf(&b, "\n-- Migration %s.\n%s\n", m.Name, strings.TrimSpace(m.SQL))
		fmt.Fprintf(&b, "INSERT INTO %s.migrations (version, name, least) VALUES (%d, '%s', %d);\n", quoted(store), m.Version, m.Name, m.Least)
	}
	b.WriteString("COMMIT;\n")
	for _, x := range list {
		b.WriteString("\n" + x.create(store, concurrently) + ";\n")
	}
	return b.String(), nil
}
