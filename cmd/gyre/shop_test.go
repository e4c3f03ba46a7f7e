package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// TestShopCrash: examples/plugins/shop ends each order once, in the way that its payments say,
// while its node is killed with SIGKILL: once, and 50 times with GYRE_SOAK=1.
func TestShopCrash(t *testing.T) {
	t.Parallel()
	kills := 1
	if os.Getenv("GYRE_SOAK") != "" {
		kills = 50
	}
	gyre := plainProgram(t, "gyre")
	run := startPluginRun(t, gyre, []*ringNode{{args: []string{"--data", filepath.Join(t.TempDir(), "data")}}})
	deploy := exec.CommandContext(t.Context(), gyre, "plugin", "deploy", "../../examples/plugins/shop", "--server", "http://"+run.nodes[0].listen,
		"--max-attempts", "1000", "--limits", `{"batchEvents":2}`, "--timeout", "5m")
	if out, err := deploy.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const orders = 60
	events := shopEvents(orders)
	last := uint64(0)
	for i := range kills + 1 {
		part := events[i*len(events)/(kills+1) : (i+1)*len(events)/(kills+1)]
		appended := make(chan error, 1)
		go func() {
			for some := range slices.Chunk(part, 5) {
				result, err := run.client.Append(t.Context(), core.Commit{Appends: some})
				if err != nil {
					appended <- err
					return
				}
				last = result.Position
			}
			appended <- nil
		}()
		if i < kills {
			<-time.NewTimer(rand.N(pluginKillDelay)).C
			run.kill()
		}
		if err := <-appended; err != nil {
			t.Fatal(err)
		}
	}
	err := until(drainedWithin, func() error {
		s, err := run.client.Plugins().Status(t.Context(), "shop")
		if err == nil && s.Checkpoint < last {
			err = fmt.Errorf("the checkpoint is %d of %d: %s, %s", s.Checkpoint, last, s.State, s.Reason)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range orders {
		var did []string
		stream := fmt.Sprint("order-", n)
		for e, err := range core.ReadAll(t.Context(), run.client, core.ReadRequest{Stream: stream}) {
			if err != nil {
				t.Fatal(err)
			}
			did = append(did, e.Type)
		}
		if want := shopEnds[n%len(shopEnds)]; !slices.Equal(did, want) {
			t.Errorf("%s has %q, want %q", stream, did, want)
		}
	}
}

// shopEnds are how the orders of shopEvents end.
var shopEnds = [][]string{
	{"OrderPlaced", "OrderPaid"},
	{"OrderPlaced", "ReminderSent", "OrderPaid"},
	{"OrderPlaced", "ReminderSent", "OrderCancelled"},
}

// shopEvents are orders of which a third is paid at once, a third after the reminder, and a third
// never.
func shopEvents(orders int) (events []core.Append) {
	add := func(stream, typ, data string, args ...any) {
		event := core.NewEvent{ID: core.NewID(), Type: typ, Data: fmt.Appendf(nil, data, args...)}
		events = append(events, core.Append{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{event}})
	}
	pay := func(third int) {
		for n := third; n < orders; n += len(shopEnds) {
			for range 2 {
				add(fmt.Sprint("payment-", n), "PaymentReceived", `{"order":"%d","amount":15}`, n)
			}
		}
	}
	tick := func(hours int) {
		add("clock", "Tick", `{"now":%q}`, time.Now().Add(time.Duration(hours)*time.Hour).Format(time.RFC3339))
	}
	for n := range orders {
		add(fmt.Sprint("order-", n), "OrderPlaced", `{"customer":"ann","total":30}`)
	}
	pay(0)
	tick(30)
	pay(1)
	tick(80)
	return events
}
