package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// countedWithin is more than the fold takes in a test.
const countedWithin = time.Minute

// untilCounted waits until a node has counted its log.
func untilCounted(ctx context.Context, client *sdk.Client) (page census.TypePage, err error) {
	return page, until(countedWithin, func() (err error) {
		if page, err = client.Types(ctx, census.ListRequest{Limit: core.MaxReadEvents}); err == nil && page.UpTo < page.Head {
			err = fmt.Errorf("%d of %d are counted", page.UpTo, page.Head)
		}
		return err
	})
}

// countedAll is the command counted of scripts. It waits until the node has counted its log.
func countedAll(ts *testscript.TestScript, _ bool, _ []string) {
	client, err := sdk.Dial(context.Background(), ts.Getenv("GYRE_SERVER"), sdk.Options{})
	ts.Check(err)
	_, err = untilCounted(context.Background(), client)
	ts.Check(errors.Join(err, client.Close()))
}

// TestCrashCensus kills a node at random moments while it counts and takes appends. In the end
// each event of the log is counted once.
func TestCrashCensus(t *testing.T) {
	t.Parallel()
	rounds := 4
	if os.Getenv("GYRE_SOAK") != "" {
		rounds = 100
	}
	c := newCrasher(t.TempDir())
	for round := range rounds {
		node := c.start(t)
		client := c.dial(t, node)
		random := rand.New(rand.NewPCG(uint64(round), 7))
		alive, stop := context.WithTimeout(t.Context(), time.Second+time.Duration(random.IntN(1500))*time.Millisecond)
		for n := 0; alive.Err() == nil; n++ {
			a := core.Append{Stream: fmt.Sprintf("c%d-%d", n%3, n), Expect: core.AnyVersion}
			for i := range 1 + random.IntN(20) {
				a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: fmt.Sprint("T", (n+i)%50), Data: []byte("1")})
			}
			if _, err := client.Append(alive, core.Commit{Appends: []core.Append{a}}); errors.Is(err, core.CodeUnknownOutcome) || errors.Is(err, core.CodeTimeout) {
				break // its time is over
			} else if err != nil && alive.Err() == nil {
				t.Fatal(err)
			}
		}
		stop()
		if _, err := node.end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = client.Close() // its node is gone
	}
	node := c.start(t)
	client := c.dial(t, node)
	page, err := untilCounted(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string]uint64{}, map[string]uint64{}
	for _, n := range page.Types {
		got[n.Type] = n.Events
	}
	for e, err := range core.ReadAll(t.Context(), client, core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: core.MaxReadEvents}}) {
		if err != nil {
			t.Fatal(err)
		}
		want[e.Type]++
	}
	if len(want) == 0 || !maps.Equal(got, want) {
		t.Errorf("counted %v, the log has %v", got, want)
	}
	categories, err := client.Categories(t.Context(), census.ListRequest{})
	if err != nil || len(categories.Categories) != 3 {
		t.Errorf("%+v, %v", categories, err)
	}
	_ = client.Close()
	if _, err := node.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
