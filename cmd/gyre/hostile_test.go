package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

// hostileWithin is how long a node may take to end a subscription, or itself, whatever the
// subscription's expressions do.
const hostileWithin = 8 * time.Second

// TestHostileExpressions runs expressions that would take all time or memory in a node of its
// own. Subscriptions are deleted, transient ones end with their connection and the node ends
// while they are evaluated, each in time.
func TestHostileExpressions(t *testing.T) {
	dir := t.TempDir()
	node, err := serve(dir, append(os.Environ(), "GOMEMLIMIT=256MiB"), filepath.Join(dir, "node.log"), "--engine", "memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client := hostileClient(ctx, t, node)
	nested := "[data]" + strings.Repeat(".map(a,["+strings.TrimSuffix(strings.Repeat("a,", 10), ",")+"])", 15)
	slow := `data.l.exists(x, data.l.exists(y, data.l.exists(z, x + y + z < 0)))`
	hostile := map[string]func(d *subscriptions.Definition){
		"filter":  func(d *subscriptions.Definition) { d.Filter.Expr = nested + ".all(v, v == v)" },
		"slow":    func(d *subscriptions.Definition) { d.Filter.Expr = slow },
		"key":     func(d *subscriptions.Definition) { d.PartitionBy = subscriptions.ByExpression + "string(" + slow + ")" },
		"map":     func(d *subscriptions.Definition) { d.Map.Expr = nested },
		"pattern": func(d *subscriptions.Definition) { d.Filter.Expr = `data.l.exists(x, data.s.matches("(x+x+)+y"))` },
		"large":   func(d *subscriptions.Definition) { d.Map.Expr = "data.l.map(x, data.s)" },
	}
	for name, change := range hostile {
		hostileTo(ctx, t, client, name, change, false)
	}
	other := hostileClient(ctx, t, node)
	for name, change := range hostile {
		hostileTo(ctx, t, other, name, change, true)
	}
	appendHostile(ctx, t, client)

	within := func(what string, f func() error) {
		t.Helper()
		began := time.Now()
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(began); took > hostileWithin {
			t.Errorf("%s took %s", what, took)
		}
	}
	within("the end of a connection", func() error {
		if err := other.Close(); err != nil {
			return err
		}
		for {
			page, err := client.Subscriptions().List(ctx, subscriptions.ListRequest{Transient: true, Limit: 100})
			if err != nil || len(page.Subscriptions) == 0 {
				return err
			}
		}
	})
	for _, name := range []string{"filter", "slow", "key"} {
		within("deleting "+name, func() error { return client.Subscriptions().Delete(ctx, name) })
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	within("SIGTERM", func() error {
		code, err := node.end(syscall.SIGTERM)
		if err == nil && code != exitOK {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	})
}

func hostileClient(ctx context.Context, t *testing.T, node *process) *sdk.Client {
	t.Helper()
	client, err := sdk.Dial(ctx, node.url, sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func hostileTo(ctx context.Context, t *testing.T, client *sdk.Client, name string, change func(*subscriptions.Definition), transient bool) {
	t.Helper()
	d := subscriptions.DefaultDefinition()
	change(&d)
	if _, err := client.Subscribe(ctx, name, sdk.SubscribeOptions{Definition: &d, Transient: transient}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// appendHostile appends events that keep all the subscriptions busy for a long time, and
// waits until they have begun.
func appendHostile(ctx context.Context, t *testing.T, client *sdk.Client) {
	t.Helper()
	data := fmt.Appendf(nil, `{"s":%q,"l":[%s1]}`, strings.Repeat("x", 10_000), strings.Repeat("1,", 999))
	for range 50 {
		a := core.Append{Stream: "s", Expect: core.AnyVersion}
		for range 20 {
			a.Events = append(a.Events, core.NewEvent{Type: "T", Data: data})
		}
		if _, err := client.Append(ctx, core.Commit{Appends: []core.Append{a}}); err != nil {
			t.Fatal(err)
		}
	}
	for {
		info, err := client.Subscriptions().Info(ctx, "filter")
		if err != nil {
			t.Fatal(err)
		}
		if info.Totals.Parked > 0 { // its budget was spent, for the first events
			return
		}
	}
}
