package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/sdk"
)

// pluginRing is a ring that runs guests.Totals, which appends and has state in two lanes, and
// guests.Words, which logs how many events it was handed. One node owns both bindings.
type pluginRing struct {
	*pluginRun
	words string // the binding of guests.Words
	fed   int    // events
}

// TestPluginsAtEveryNode asks each node of a ring about bindings that one of them runs: to deploy,
// pause, resume, go back and rebuild, for state, also watched, for logs that are followed, for dry runs
// and for shadows. Then it kills the node that runs them during a rebuild and a shadow, and the others
// go on: each event has its effect once.
func TestPluginsAtEveryNode(t *testing.T) {
	t.Parallel()
	r := &pluginRing{pluginRun: startPluginRun(t, "gyre", ringOfThree(t))}
	owner := r.deployAnywhere()
	trials := r.deployTrials(r.ownedBy(owner, "trials"), r.nodes[(owner+1)%3])
	followers, watches := make([]*logFollower, len(r.nodes)), make([]*stateFollower, len(r.nodes))
	for i, n := range r.nodes {
		followers[i], watches[i] = followLog(t, n, r.words), followState(t, n, "totals")
	}
	r.feed(40)
	r.handledAtAll()
	r.watched("the first events", "totals", 2, watches)
	r.logged("the first events", followers)
	trials.dryRunsAnywhere()
	trials.shadowsAnywhere()
	trials.readWhatIsWritten()
	trials.seenOnce("shadows and switches")
	r.controlAnywhere()
	r.handledAtAll()
	r.watched("switches", "totals", 2, watches)

	var s plugins.Status
	r.must(r.nodes[(owner+1)%3], "POST", "totals/rebuild", `{"hold":true}`, &s)
	trials.shadow(r.nodes[(owner+2)%3])
	r.feed(20)
	trials.compared(0)
	r.logged("a shadow", followers) // a kill loses lines of a moment
	paused := trials.lose(owner)
	killed := r.nodes[owner]
	if _, err := killed.now.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.nodes = slices.Delete(r.nodes, owner, owner+1)
	followers, watches = slices.Delete(followers, owner, owner+1), slices.Delete(watches, owner, owner+1)
	trials.resume(paused)
	trials.keptOn("a kill")
	r.feed(40)
	r.handledAtAll()
	r.watched("a kill", "totals", 2, watches)
	r.logged("a kill", followers)
	trials.compared(2 * 9) // of each lane: one that was suspect, and those of the flights behind it
	trials.readWhatIsWritten()
	trials.switchTrials()
	trials.seenOnce("a kill")
	r.switchAnywhere(s.Beside.Generation)
	r.feed(40)
	r.handledAtAll()
	r.watched("a switch at the next owner", "totals", 2, watches)
	r.deleteAnywhere()
}

// at asks a node about plugins, and decodes the answer into to.
func (r *pluginRing) at(n *ringNode, method, path, body string, to any) error {
	return n.askPlugins(method, path, "application/json", strings.NewReader(body), to)
}

// must is at that may not fail.
func (r *pluginRing) must(n *ringNode, method, path, body string, to any) {
	r.t.Helper()
	if err := r.at(n, method, path, body, to); err != nil {
		r.t.Fatal(err)
	}
}

// deployAnywhere uploads and deploys at nodes that do not own the bindings, and returns the one
// that does.
func (r *pluginRing) deployAnywhere() (owner int) {
	r.t.Helper()
	owner = r.ownerOf("totals")
	r.words = r.ownedBy(owner, "words")
	r.upload("totals", "1", guests.Totals, `"handler","capabilities":["state","append:sixteens"],"lanes":2`)
	// A custom section makes it another module.
	r.upload("totals", "2", slices.Concat(guests.Totals, []byte{0, 2, 1, '2'}), `"handler","capabilities":["state","append:sixteens"],"lanes":2`)
	r.upload("words", "1", guests.Words, `"projection","capabilities":["state"]`)
	var s plugins.Status
	r.must(r.nodes[(owner+1)%3], "POST", "totals/deploy", `{"version":"1","grants":["state","append:sixteens"]}`, &s)
	r.must(r.nodes[(owner+2)%3], "POST", r.words+"/deploy", `{"plugin":"words","version":"1","grants":["state"]}`, &s)
	return owner
}

// ownerOf is the index of the node that owns a binding, or will.
func (r *pluginRing) ownerOf(binding string) int {
	r.t.Helper()
	w, err := r.client.Cluster().WhereIs(r.t.Context(), ring.KindSubscription, binding)
	if err != nil || w.Owner == nil {
		r.t.Fatalf("nobody owns %s: %v", binding, err)
	}
	return slices.IndexFunc(r.nodes, func(n *ringNode) bool { return slices.Contains(n.args, w.Owner.Node) })
}

// ownedBy makes the name of a binding that a node will own.
func (r *pluginRing) ownedBy(owner int, prefix string) (binding string) {
	r.t.Helper()
	for i := 0; ; i++ {
		if binding = fmt.Sprint(prefix, "-", i); r.ownerOf(binding) == owner {
			return binding
		}
	}
}

func (r *pluginRing) upload(plugin, version string, module []byte, kind string) {
	r.t.Helper()
	_, _, err := r.client.Plugins().Upload(r.t.Context(), sdk.Upload{Plugin: plugin, Version: version, Module: module, Manifest: fmt.Appendf(nil,
		`{"name":%q,"version":%q,"abi":"gyre_1","subscription":{"filter":{"streams":["in-*"]},"partitionBy":"stream"},"kind":%s}`, plugin, version, kind)})
	if err != nil {
		r.t.Fatal(err)
	}
}

// feed appends events whose numbers add up to what state has to say.
func (r *pluginRing) feed(events int) {
	r.t.Helper()
	for range events {
		_, err := r.client.Append(r.t.Context(), core.Commit{Appends: []core.Append{{
			Stream: fmt.Sprint("in-", r.fed%7), Expect: core.AnyVersion,
			Events: []core.NewEvent{{Type: "Added", Data: fmt.Appendf(nil, `{"total":%d}`, r.fed)}},
		}}})
		if err != nil {
			r.t.Fatal(err)
		}
		r.fed++
	}
}

// handledAtAll waits until each node says that both bindings have handled all events, and checks
// what state each has, and what was appended.
func (r *pluginRing) handledAtAll() {
	r.t.Helper()
	last, sixteens, appended := uint64(0), 0, 0
	count := func() {
		last, sixteens, appended = 0, 0, 0
		for e, err := range core.ReadAll(r.t.Context(), r.client, core.ReadRequest{Stream: core.All}) {
			switch {
			case err != nil:
				r.t.Fatal(err)
			case e.Stream == "sixteens":
				appended++
			case strings.HasPrefix(e.Stream, "in-"):
				if last = e.Position; last%16 == 0 {
					sixteens++
				}
			}
		}
	}
	count()
	for _, n := range r.nodes {
		for _, binding := range []string{"totals", r.words} {
			r.caughtUp(n, binding, last)
		}
		var page plugins.StatePage
		if r.must(n, "GET", fmt.Sprintf("totals/state?lane=0&atLeast=%d", last), "", &page); page.Position < last {
			r.t.Errorf("%s: the state is of position %d, which is to be at least %d", n.listen, page.Position, last)
		}
		if sum, want := r.sum(n), int64(r.fed*(r.fed-1)/2); sum != want {
			r.t.Errorf("%s: after %d events the sum is %d, want %d", n.listen, r.fed, sum, want)
		}
	}
	if count(); appended != sixteens || sixteens == 0 {
		r.t.Errorf("%d events are appended, want %d", appended, sixteens)
	}
}

// lastInput is the position of the last event that is handled.
func (r *pluginRing) lastInput() (last uint64) {
	r.t.Helper()
	for e, err := range core.ReadAll(r.t.Context(), r.client, core.ReadRequest{Stream: core.All, Backward: true}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "in-") {
			return e.Position
		}
	}
	return 0
}

// caughtUp waits until a node says that a binding has handled everything up to a position.
func (r *pluginRing) caughtUp(n *ringNode, binding string, last uint64) {
	r.t.Helper()
	var s plugins.Status
	err := until(ringLatest, func() error {
		if err := r.at(n, "GET", binding, "", &s); err != nil {
			return err
		}
		if s.Checkpoint < last {
			return fmt.Errorf("the checkpoint of %s is %d of %d", binding, s.Checkpoint, last)
		}
		return nil
	})
	if err != nil {
		r.t.Fatalf("%s: %v: %+v\n%s", n.listen, err, s, lastBytes(n.log(), 4000))
	}
}

// sum adds up what a node has as the state of both lanes.
func (r *pluginRing) sum(n *ringNode) (sum int64) {
	r.t.Helper()
	for lane := range 2 {
		var page struct{ Entries []plugins.Entry }
		r.must(n, "GET", fmt.Sprintf("totals/state?lane=%d", lane), "", &page)
		for _, e := range page.Entries {
			sum += int64(binary.LittleEndian.Uint64(e.Value[8*len("total"):]))
		}
	}
	return sum
}

// controlAnywhere has each node do what an operator asks for, and checks that all say so.
func (r *pluginRing) controlAnywhere() {
	r.t.Helper()
	all := func(what string, holds func(*plugins.Status) bool) {
		r.t.Helper()
		for _, n := range r.nodes {
			var s plugins.Status
			if r.must(n, "GET", "totals", "", &s); !holds(&s) {
				r.t.Errorf("after %s, %s says %+v", what, n.listen, s)
			}
		}
	}
	for i, n := range r.nodes {
		next := r.nodes[(i+1)%3]
		var s plugins.Status
		r.must(n, "POST", "totals/pause", "", &s)
		all("pause", func(s *plugins.Status) bool { return s.State == plugins.Paused })
		r.must(next, "POST", "totals/resume", "", &s)
		all("resume", func(s *plugins.Status) bool { return !s.Paused })
		r.must(n, "POST", "totals/deploy", `{"version":"2"}`, &s)
		all("deploy", func(s *plugins.Status) bool { return s.Version == "2" && s.Previous == "1" })
		r.must(next, "POST", "totals/rollback", "", &s)
		all("rollback", func(s *plugins.Status) bool { return s.Version == "1" })
		generation := s.Generation
		r.must(n, "POST", "totals/rebuild", "{}", &s)
		r.awaitGeneration(n, generation+1)
		all("rebuild", func(s *plugins.Status) bool {
			return s.Generation == generation+1 && s.Beside == nil && s.Before != nil
		})
	}
}

// awaitGeneration waits until a generation is live.
func (r *pluginRing) awaitGeneration(n *ringNode, generation uint64) {
	r.t.Helper()
	var s plugins.Status
	err := until(ringLatest, func() error {
		if err := r.at(n, "GET", "totals", "", &s); err != nil || s.Generation == generation {
			return err
		}
		return fmt.Errorf("generation %d is live, not %d, with %+v beside", s.Generation, generation, s.Beside)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// switchAnywhere waits until a rebuild has caught up that another owner has begun, and has the one
// node switch to it that is asked.
func (r *pluginRing) switchAnywhere(generation uint64) {
	r.t.Helper()
	var s plugins.Status
	err := until(ringLatest, func() error {
		if err := r.at(r.nodes[0], "GET", "totals", "", &s); err != nil {
			return err
		}
		switch {
		case s.Generation == generation: // a switch before was not answered
			return nil
		case s.Beside == nil || s.Beside.Generation != generation || s.Beside.Percent < 100:
			return fmt.Errorf("beside is %+v", s.Beside)
		}
		return r.at(r.nodes[1], "POST", "totals/switch", "", &s)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.awaitGeneration(r.nodes[0], generation)
}

// deleteAnywhere deletes the bindings, each at a node.
func (r *pluginRing) deleteAnywhere() {
	r.t.Helper()
	for i, binding := range []string{"totals", r.words} {
		var answer json.RawMessage
		r.must(r.nodes[i], "DELETE", binding, "", &answer)
		for _, n := range r.nodes {
			for _, path := range []string{binding, binding + "/logs", binding + "/state?lane=0"} {
				if err := r.at(n, "GET", path, "", &answer); err == nil || !strings.Contains(err.Error(), string(core.CodeBindingNotFound)) {
					r.t.Errorf("%s: %s of a binding that was deleted: %s, %v", n.listen, path, answer, err)
				}
			}
		}
	}
}

// logFollower follows the log of a binding at one node, as server-sent events.
type logFollower struct {
	mu      sync.Mutex // protects the fields below
	handled int        // events, as the lines of guests.Words say
	last    uint64     // line
	err     error
}

// openEvents opens server-sent events behind an id, which end with the test.
func (n *ringNode) openEvents(t *testing.T, path, last string) io.ReadCloser {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.listen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		text, err := io.ReadAll(answer.Body)
		t.Fatalf("%s: %s is not followed: %s: %s, %v", n.listen, path, answer.Status, text, err)
	}
	return answer.Body
}

// followLog ends with the test.
func followLog(t *testing.T, n *ringNode, binding string) *logFollower {
	t.Helper()
	answer := n.openEvents(t, "/v1/plugins/"+binding+"/logs", "")
	f := &logFollower{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(answer); lines.Scan(); {
			if text, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: ")); ok {
				f.take(text)
			}
		}
	})
	t.Cleanup(func() {
		_ = answer.Close()
		reading.Wait()
	})
	return f
}

func (f *logFollower) take(text []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var line plugins.LogLine
	if err := json.Unmarshal(text, &line); err != nil {
		f.err = fmt.Errorf("%s: %w", text, err)
		return
	}
	if line.Seq <= f.last {
		f.err = fmt.Errorf("line %d comes after line %d", line.Seq, f.last)
	}
	f.last = line.Seq
	var events int
	if _, err := fmt.Sscanf(line.Text, "%d events", &events); err == nil {
		f.handled += events
	}
}

// logged checks that those who follow the log get lines about all events.
func (r *pluginRing) logged(what string, followers []*logFollower) {
	r.t.Helper()
	for i, f := range followers {
		if err := f.until(r.fed); err != nil {
			r.t.Errorf("after %s, log %d: %v", what, i, err)
		}
	}
}

// until waits until lines about so many events have come.
func (f *logFollower) until(events int) error {
	return until(time.Minute, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err == nil && f.handled < events {
			return fmt.Errorf("the log is about %d events, want %d", f.handled, events)
		}
		return f.err
	})
}
