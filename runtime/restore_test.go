package runtime_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// ask sends a request and returns the answer with its body read, up to the first
// event where it is a stream of them.
func ask(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") != "text/event-stream" {
		all, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(all)
	}
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			return res, id
		}
	}
	t.Fatal("the stream of events ended")
	return nil, ""
}

// TestRestoredNode restores the data directory of a node from a copy, and comes back with
// what the node gave out before: cursors and ETags, over HTTP and of the Go client.
func TestRestoredNode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	saved := dir + ".saved"
	copyTo := func(to, from string) {
		t.Helper()
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(node *runtime.Node, n int) (tag string) {
		t.Helper()
		for range n {
			res, body := ask(t, "POST", node.URL()+"/v1/streams/s/events", `{"type":"T","data":1}`, "Content-Type: application/json")
			if res.StatusCode != http.StatusCreated {
				t.Fatal(res.Status, body)
			}
			tag = res.Header.Get("ETag")
		}
		return tag
	}
	appendIf := func(node *runtime.Node, tag string) (int, string) {
		t.Helper()
		res, body := ask(t, "POST", node.URL()+"/v1/streams/s/events", `{"type":"T","data":1}`, "Content-Type: application/json", "If-Match: "+tag)
		return res.StatusCode, body
	}
	tail := func(node *runtime.Node, cursor string) (*http.Response, string) {
		t.Helper()
		return ask(t, "GET", node.URL()+"/v1/events?from=end", "", "Accept: text/event-stream", "Last-Event-ID: "+cursor)
	}

	node := start(t, runtime.Config{Data: dir})
	early := write(node, 5)
	stop(t, node)
	copyTo(saved, dir)
	node = start(t, runtime.Config{Data: dir})
	write(node, 4)
	state := node.Store().State()
	lost := write(node, 1)
	cursor := state.Cursor(10).String()
	if status, body := appendIf(node, early); status != 412 || !strings.Contains(body, "wrong_expected_version") {
		t.Errorf("a tag of version 5 at version 10: %d %s", status, body)
	}
	stop(t, node)

	copyTo(dir, saved)
	node = start(t, runtime.Config{Data: dir})
	if res, _ := ask(t, "HEAD", node.URL()+"/v1/streams/s/events", ""); res.Header.Get("Gyre-Version") != "5" {
		t.Fatalf("restored at version %s", res.Header.Get("Gyre-Version"))
	}
	refused := func(when string) {
		t.Helper()
		if status, body := appendIf(node, lost); status != 412 || !strings.Contains(body, "log_changed") {
			t.Errorf("%s: append with the tag of a lost version: %d %s", when, status, body)
		}
		if res, body := tail(node, cursor); res.StatusCode != 409 || !strings.Contains(body, "log_changed") {
			t.Errorf("%s: the tail after a lost cursor: %d %s", when, res.StatusCode, body)
		}
		client, err := sdk.Dial(t.Context(), node.URL(), sdk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		parsed, err := core.ParseCursor(cursor)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: parsed.From()}); !errors.Is(err, core.CodeLogChanged) {
			t.Errorf("%s: a follow after a lost cursor: %v", when, err)
		}
	}
	refused("at 5")
	if status, body := appendIf(node, early); status != http.StatusCreated {
		t.Errorf("the tag of a version that was kept: %d %s", status, body)
	}
	write(node, 4)
	refused("at 10")
	write(node, 2)
	refused("at 12")
}
