//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestCrashCopyOfLinks kills copies of a log with links at random moments, between
// directories and databases, until one comes to its end. What it says to be the same is
// compared once more here, and a copy after it writes nothing. With GYRE_SOAK=1 the log
// is 20 times as long, and there are 20 of them.
func TestCrashCopyOfLinks(t *testing.T) {
	t.Parallel()
	rounds, records := 1, 15_000
	if os.Getenv("GYRE_SOAK") != "" {
		rounds, records = 20, 20*records
	}
	ends := engineEnds(t)
	for _, from := range []string{"disk", "postgres"} {
		t.Run("from_"+from, func(t *testing.T) {
			for range rounds {
				source := ends[from]()
				seed := rand.Uint64()
				t.Logf("a log of seed %d", seed)
				withEnd(t, source, func(log *logEnd) { newLinker(seed, "s", "$s", "t").fill(t, log, records) })
				for _, to := range []string{"disk", "postgres"} {
					killCopies(t, source, ends[to]())
				}
			}
		})
	}
}

// engineEnds make logs that are not there yet.
func engineEnds(t *testing.T) map[string]func() endFlags {
	server := pgtest.Shared(t)
	return map[string]func() endFlags{
		"disk":     func() endFlags { return endFlags{where: filepath.Join(t.TempDir(), "d"), segmentBytes: 1 << 20} },
		"postgres": func() endFlags { return endFlags{where: server.URL, store: server.Store(t)} },
	}
}

// TestExportOfLinksIsAnImport moves a log with links between the engines, by an import
// that is interrupted and done again.
func TestExportOfLinksIsAnImport(t *testing.T) {
	t.Parallel()
	ends := engineEnds(t)
	for _, names := range [][2]string{{"disk", "postgres"}, {"postgres", "disk"}} {
		t.Run(names[0]+"_to_"+names[1], func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("a log of seed %d", seed)
			withEnd(t, ends[names[0]](), func(source *logEnd) {
				newLinker(seed, "s").fill(t, source, 5000)
				exported := exportOf(t, source)
				withEnd(t, ends[names[1]](), func(target *logEnd) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					store := target.wholeLog.(*core.Store)
					if _, err := importTo(ctx, &before{store, 1 + rand.IntN(4), cancel}, exported); !errors.Is(err, context.Canceled) {
						t.Fatalf("the interrupted import says %v", err)
					}
					head := store.State().Head
					if said, err := importTo(t.Context(), store, exported); err != nil || !strings.Contains(said, " written, "+comma(head)+" skipped, ") {
						t.Fatalf("of what was written, %d are there: %v: %s", head, err, said)
					}
					sameLogs(t, source, target)
					if again := exportOf(t, target); again != exported {
						t.Error("the target's export is another one")
					}
				})
			})
		})
	}
}

// TestImportAsksOncePerBatch imports where a part of the events is there already, links and
// all. A batch takes one Commit that is refused and one that is written, at most.
func TestImportAsksOncePerBatch(t *testing.T) {
	t.Parallel()
	ends := engineEnds(t)
	seed := rand.Uint64()
	t.Logf("a log of seed %d", seed)
	var lines []string
	withEnd(t, ends["disk"](), func(source *logEnd) {
		newLinker(seed, "s").fill(t, source, 5000)
		lines = strings.SplitAfter(strings.TrimSuffix(exportOf(t, source), "\n"), "\n")
	})
	var part strings.Builder
	for i, line := range lines {
		if i%6 == 0 && !strings.Contains(line, `"link":`) {
			part.WriteString(line)
		}
	}
	all, batches := strings.Join(lines, ""), uint64(len(lines)/batchEvents+1)
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			withEnd(t, end(), func(target *logEnd) {
				store := target.wholeLog.(*core.Store)
				if said, err := importTo(t.Context(), store, part.String()); err != nil {
					t.Fatalf("%v: %s", err, said)
				}
				known := int(store.State().Head)
				for _, skipped := range []int{known, len(lines)} {
					before := store.Stats().Commits
					if said, err := importTo(t.Context(), store, all); err != nil || !strings.Contains(said, ", "+comma(int64(skipped))+" skipped, ") {
						t.Fatalf("of %d lines, %d are there: %v: %s", len(lines), skipped, err, said)
					}
					if commits := store.Stats().Commits - before; commits > 2*batches {
						t.Errorf("%d batches with %d known lines took %d commits", batches, skipped, commits)
					}
				}
				if head := store.State().Head; head != uint64(len(lines)) {
					t.Errorf("the head is %d, want %d", head, len(lines))
				}
			})
		})
	}
}

func exportOf(t *testing.T, log wholeLog) string {
	t.Helper()
	var out strings.Builder
	a := &app{stdout: &out, stderr: t.Output(), timeout: defaultTimeout}
	if err := a.export(t.Context(), log, core.All); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// withEnd opens an end of a copy, which is made if it is not there.
func withEnd(t *testing.T, f endFlags, do func(log *logEnd)) {
	t.Helper()
	a := &app{stderr: t.Output(), timeout: defaultTimeout}
	log, err := a.openEnd(t.Context(), f, "--to")
	if err != nil {
		t.Fatal(err)
	}
	do(log)
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
}

// nothingCopied is what a copy says, after its progress if it takes long.
var nothingCopied = regexp.MustCompile(`(?m)^0 events copied, `)

// killCopies copies with processes that are killed, until one is not.
func killCopies(t *testing.T, from, to endFlags) {
	t.Helper()
	killed := 0
	for within := 100 * time.Millisecond; ; within = within * 8 / 5 {
		out, err := copyProcess(from, to, rand.N(within))
		var exit *exec.ExitError
		if errors.As(err, &exit) && !exit.Exited() {
			killed++
			continue
		}
		if err != nil {
			t.Fatalf("after %d that were killed: %v: %s", killed, err, out)
		}
		t.Logf("%d were killed, and then: %s", killed, out)
		break
	}
	out, err := copyProcess(from, to, time.Minute)
	if err != nil || !nothingCopied.MatchString(out) || !strings.Contains(out, " links compared with the source: they are the same.\n") {
		t.Fatalf("once more: %v: %s", err, out)
	}
	withEnd(t, from, func(source *logEnd) {
		withEnd(t, to, func(target *logEnd) { sameLogs(t, source, target) })
	})
	if to.store == "" {
		if out, err := exec.Command("gyre", "verify", "--data", to.where).CombinedOutput(); err != nil {
			t.Errorf("verify: %v: %s", err, out)
		}
	}
}

// copyProcess runs a copy and kills it if it takes longer.
func copyProcess(from, to endFlags, limit time.Duration) (string, error) {
	args := []string{"copy", "--from", from.where, "--to", to.where, "--segment-bytes", "1048576"}
	for flag, store := range map[string]string{"--from-store": from.store, "--to-store": to.store} {
		if store != "" {
			args = append(args, flag, store)
		}
	}
	var out strings.Builder
	cmd := exec.Command("gyre", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	kill := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	return out.String(), err
}

// TestCopyOfKeys: a copy of a store with keys has them, and so has one that is brought up to
// date after one of them was revoked.
func TestCopyOfKeys(t *testing.T) {
	t.Parallel()
	ends := engineEnds(t)
	for _, names := range [][2]string{{"disk", "postgres"}, {"postgres", "disk"}} {
		t.Run(names[0]+"_to_"+names[1], func(t *testing.T) {
			from, to := ends[names[0]](), ends[names[1]]()
			var tokens []string
			withKeys(t, from, func(k *keys.Keys) {
				_, admin, err := k.Init(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				_, reader, err := k.Create(asKey(t, k, admin), keys.Key{Role: access.Reader, Streams: []string{"*"}})
				if err != nil {
					t.Fatal(err)
				}
				tokens = []string{admin, reader}
			})
			for _, want := range []struct {
				keys   int
				reader bool
			}{{2, true}, {1, false}} {
				var said, out strings.Builder
				a := &app{stdout: &out, stderr: &said, timeout: defaultTimeout, output: asJSON}
				if err := a.copy(t.Context(), from, to, verifyFull); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(out.String(), fmt.Sprintf(`"keys": %d,`, want.keys)) || strings.Contains(said.String(), "Warning") {
					t.Errorf("the copy says %s %s", out.String(), said.String())
				}
				withKeys(t, to, func(k *keys.Keys) {
					if p, err := k.Authenticate(tokens[0]); err != nil || p.Role != access.Admin || !k.Protected() {
						t.Errorf("the admin is %v, %v", p, err)
					}
					if _, err := k.Authenticate(tokens[1]); (err == nil) != want.reader {
						t.Errorf("the reader: %v", err)
					}
				})
				withKeys(t, from, func(k *keys.Keys) {
					if want.reader {
						p, err := k.Authenticate(tokens[1])
						if err == nil {
							err = k.Revoke(asKey(t, k, tokens[0]), p.Name)
						}
						if err != nil {
							t.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// withKeys opens a store for its keys.
func withKeys(t *testing.T, f endFlags, do func(*keys.Keys)) {
	t.Helper()
	withEnd(t, f, func(log *logEnd) {
		k, err := keys.New(t.Context(), keys.Config{Store: log.wholeLog.(keys.Store)})
		if err != nil {
			t.Fatal(err)
		}
		do(k)
		k.Close()
	})
}

// asKey is the context of whom a token is of.
func asKey(t *testing.T, k *keys.Keys, token string) context.Context {
	t.Helper()
	p, err := k.Authenticate(token)
	if err != nil {
		t.Fatal(err)
	}
	return access.With(t.Context(), p)
}
