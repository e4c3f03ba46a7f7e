package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// pluginTrials are what a pluginRing does with one more binding, which has the same owner: dry runs,
// shadows and watches. Version 1 of its plugin appends to the stream fifteens, version 2 to fourteen.
// Each event is a Commit.
type pluginTrials struct {
	*pluginRing
	binding  string
	watchers []*stateFollower
	shadowed uint64 // the position of the last event before the shadow began, where it runs now
}

// deployTrials deploys the binding at a node.
func (r *pluginRing) deployTrials(binding string, at *ringNode) *pluginTrials {
	r.t.Helper()
	x := &pluginTrials{pluginRing: r, binding: binding}
	grants := `["state","append:fifteens","append:fourteen"]`
	for i, stream := range []string{"fifteens", "fourteen"} {
		module := bytes.Replace(guests.Totals, []byte("sixteens"), []byte(stream), 1)
		r.upload("trials", fmt.Sprint(i+1), module, `"handler","capabilities":`+grants+`,"lanes":2`)
	}
	var s plugins.Status
	r.must(at, "POST", binding+"/deploy", `{"plugin":"trials","version":"1","limits":{"batchEvents":1},"grants":`+grants+`}`, &s)
	for _, n := range r.nodes {
		x.watchers = append(x.watchers, newStateFollower("events").overEvents(r.t, n, binding), newStateFollower("a socket").overSocket(r.t, n, binding))
	}
	return x
}

// outputs are the events of a stream, and of how many handled events behind a position up to another
// they are to be.
func (x *pluginTrials) outputs(stream string, after, to uint64) (got, want int) {
	x.t.Helper()
	for e, err := range core.ReadAll(x.t.Context(), x.client, core.ReadRequest{Stream: core.All}) {
		switch {
		case err != nil:
			x.t.Fatal(err)
		case e.Stream == stream:
			got++
		case strings.HasPrefix(e.Stream, "in-") && e.Position%16 == 0 && e.Position > after && e.Position <= to:
			want++
		}
	}
	return got, want
}

// handled waits until the binding has handled everything, and returns the last position.
func (x *pluginTrials) handled() (last uint64) {
	x.t.Helper()
	last = x.lastInput()
	x.caughtUp(x.nodes[0], x.binding, last)
	return last
}

// dryRunsAnywhere has each node do dry runs, by both protocols: the results are the same, and nothing
// is written. What another node has just appended is in them. A dry run ends when its client goes.
func (x *pluginTrials) dryRunsAnywhere() {
	x.t.Helper()
	x.feed(1)
	last := x.lastInput() // which nobody has told the others
	var results []plugins.DryRunResult
	asked := fmt.Sprintf(`{"version":"2","against":"1","to":%d}`, last)
	for _, n := range x.nodes {
		for _, r := range []plugins.DryRunResult{x.dryRun(n, asked), x.dryRunOverSocket(n, asked)} {
			r.Tried.Stored, r.Against.Stored = nil, nil // the binding goes on meanwhile
			results = append(results, r)
		}
	}
	_, want := x.outputs("fifteens", 0, last)
	for i, r := range results {
		if r.Tried.Outputs.Count != want || r.Against.Outputs.Count != want || r.Differences.Outputs != want || want == 0 || r.Events != x.fed {
			x.t.Errorf("dry run %d: %+v, want %d outputs of %d events", i, r, want, x.fed)
		}
		if !reflect.DeepEqual(r, results[0]) {
			x.t.Errorf("dry run %d is\n%+v\nand the first is\n%+v", i, r, results[0])
		}
	}
	x.handled()
	for _, n := range x.nodes {
		is := x.dryRun(n, "{}").Tried
		if d := is.Stored; d == nil || d.Added+d.Changed+d.Removed != 0 || is.Outputs.Count != want {
			x.t.Errorf("%s: a dry run of what is deployed has %d outputs, want %d, and from what is stored %+v", n.listen, is.Outputs.Count, want, d)
		}
	}
	if got, want := x.outputs("fifteens", 0, last); got != want {
		x.t.Errorf("after dry runs there are %d outputs, want %d", got, want)
	}
	x.upload("loops", "1", guests.Hostile, `"handler"`)
	for _, n := range x.nodes {
		x.cancelDryRuns(n)
	}
}

// dryRun does a dry run at a node, and returns its result without what depends on time.
func (x *pluginTrials) dryRun(n *ringNode, asked string) plugins.DryRunResult {
	x.t.Helper()
	answer, err := n.postDryRun(x.t.Context(), x.binding, asked)
	if err != nil {
		x.t.Fatal(err)
	}
	defer answer.Body.Close()
	messages := json.NewDecoder(answer.Body)
	for shown := 0; ; shown++ {
		var m struct {
			Progress *plugins.DryRunProgress
			Result   *plugins.DryRunResult
			Error    json.RawMessage
		}
		if err := messages.Decode(&m); err != nil || m.Error != nil {
			x.t.Fatalf("%s: dry run %s: %v, %s", n.listen, asked, err, m.Error)
		}
		if m.Result == nil {
			continue
		}
		if shown == 0 {
			x.t.Errorf("%s: dry run %s shows no progress", n.listen, asked)
		}
		return timeless(*m.Result)
	}
}

// dryRunOverSocket is dryRun over a WebSocket.
func (x *pluginTrials) dryRunOverSocket(n *ringNode, asked string) plugins.DryRunResult {
	x.t.Helper()
	s := n.dialSocket(x.t)
	defer s.Close()
	var m struct {
		Op     string
		Result *plugins.DryRunResult
	}
	s.ask("plugin.dryRun", fmt.Sprintf(`"sub":1,"binding":%q,`, x.binding)+strings.Trim(asked, "{}"), &m)
	for m.Result == nil {
		text := s.next()
		if err := json.Unmarshal(text, &m); err != nil || m.Op != "plugin.dryRun" {
			x.t.Fatalf("%s: dry run %s: %s, %v", n.listen, asked, text, err)
		}
	}
	return timeless(*m.Result)
}

// timeless is a result without what depends on time and on the node.
func timeless(r plugins.DryRunResult) plugins.DryRunResult {
	r.Seconds = 0
	for _, t := range []*plugins.Trial{&r.Tried, r.Against} {
		if t != nil {
			t.Seconds, t.MemoryBytes = 0, 0
		}
	}
	return r
}

// postDryRun begins a dry run of a binding, or of a plugin without one.
func (n *ringNode) postDryRun(ctx context.Context, binding, asked string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+n.listen+"/v1/plugins/"+binding+"/dry-run", strings.NewReader(asked))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return http.DefaultClient.Do(request)
}

// cancelDryRuns begins dry runs without end at a node, one more than it takes, by each protocol. Their
// clients go: then it takes another.
func (x *pluginTrials) cancelDryRuns(n *ringNode) {
	x.t.Helper()
	const begun = 3
	isFull := []byte(core.CodeTooManyDryRuns)
	takesOne := func() error {
		answer, err := n.postDryRun(x.t.Context(), x.binding, "{}")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, err := io.ReadAll(answer.Body); err != nil || bytes.Contains(text, isFull) {
			return fmt.Errorf("%s: a dry run is answered with %.200s, %v", n.listen, text, err)
		}
		return nil
	}
	ctx, stop := context.WithCancel(x.t.Context())
	refused := make(chan struct{}, begun)
	var asking sync.WaitGroup
	for range begun {
		asking.Go(func() {
			answer, err := n.postDryRun(ctx, "loops", `{"version":"1"}`)
			if err != nil {
				return
			}
			defer answer.Body.Close()
			if text, err := io.ReadAll(answer.Body); err == nil && bytes.Contains(text, isFull) {
				refused <- struct{}{}
			}
		})
	}
	<-refused
	stop()
	asking.Wait()
	if err := until(ringLatest, takesOne); err != nil {
		x.t.Errorf("over HTTP: %v", err)
	}
	s := n.dialSocket(x.t)
	for i := range begun {
		s.send("plugin.dryRun", fmt.Sprintf(`"sub":%d,"binding":"loops","version":"1"`, i+1))
	}
	for !bytes.Contains(s.next(), isFull) {
	}
	_ = s.Close()
	if err := until(ringLatest, takesOne); err != nil {
		x.t.Errorf("over a socket: %v", err)
	}
}

// shadowsAnywhere has each node start a shadow, show it, switch to it and go back.
func (x *pluginTrials) shadowsAnywhere() {
	x.t.Helper()
	for i := range x.nodes {
		at := func(n int) *ringNode { return x.nodes[(i+n)%len(x.nodes)] }
		x.shadow(at(0))
		x.feed(20)
		x.compared(0)
		var s plugins.Status
		if x.must(at(1), "POST", x.binding+"/switch", "", &s); s.Version != "2" || s.Shadow != nil {
			x.t.Errorf("after a switch: %+v", s)
		}
		if x.must(at(2), "POST", x.binding+"/rollback", "", &s); s.Version != "1" {
			x.t.Errorf("after a rollback: %+v", s)
		}
	}
}

// shadow has version 2 run in the shadow of version 1, asked at a node.
func (x *pluginTrials) shadow(n *ringNode) {
	x.t.Helper()
	x.shadowed = x.handled()
	var s plugins.Status
	if x.must(n, "POST", x.binding+"/shadow", `{"version":"2"}`, &s); s.Shadow == nil || s.Shadow.Version != "2" {
		x.t.Fatalf("%s: the shadow is %+v", n.listen, s.Shadow)
	}
}

// compared checks what each node says of the shadow, when everything is handled: it has compared all
// events since it began but for some that were dropped; it would append to another stream, and nothing
// is written by it.
func (x *pluginTrials) compared(mostDropped int) {
	x.t.Helper()
	last := x.handled()
	var first plugins.ShadowReport
	for i, n := range x.nodes {
		var r plugins.ShadowReport
		x.must(n, "GET", x.binding+"/shadow?limit=1000", "", &r)
		if i == 0 {
			first = r
		}
		if !reflect.DeepEqual(r, first) {
			x.t.Errorf("%s says of the shadow\n%+v\nand another node\n%+v", n.listen, r, first)
		}
	}
	s, events, differ := first.Shadow, 0, map[uint64]bool{}
	for _, p := range slices.Concat(x.lanes()...) {
		if p > x.shadowed {
			events++
			differ[p] = p%16 == 0
		}
	}
	if s.Ended != "" || int(s.Events+s.Dropped) != events || int(s.Dropped) > mostDropped || s.Outputs != s.Differ {
		x.t.Errorf("of %d events the shadow has compared %+v", events, s)
	}
	for _, d := range first.Differences {
		if !differ[d.Position] || d.Tried.Outputs[0].Stream != "fourteen" || d.Against.Outputs[0].Stream != "fifteens" {
			x.t.Errorf("event %d: %+v", d.Position, d)
		}
		delete(differ, d.Position)
	}
	missing := 0
	for _, is := range differ {
		if is {
			missing++
		}
	}
	if missing > int(s.Dropped) {
		x.t.Errorf("%d differences are missing, %d events were dropped", missing, s.Dropped)
	}
	if got, want := x.outputs("fifteens", 0, last); got != want {
		x.t.Errorf("the binding has appended %d events, want %d", got, want)
	}
	if got, _ := x.outputs("fourteen", 0, last); got != 0 {
		x.t.Errorf("a shadow has appended %d events", got)
	}
}

// switchTrials switches to the shadow, and back, at the nodes that there are.
func (x *pluginTrials) switchTrials() {
	x.t.Helper()
	before := x.handled()
	var s plugins.Status
	x.must(x.nodes[1], "POST", x.binding+"/switch", "", &s)
	x.feed(20)
	last := x.handled()
	if x.must(x.nodes[0], "POST", x.binding+"/rollback", "", &s); s.Version != "1" || s.Shadow != nil {
		x.t.Errorf("after a rollback: %+v", s)
	}
	if got, want := x.outputs("fourteen", before, last); got != want {
		x.t.Errorf("the version that was the shadow has appended %d events, want %d", got, want)
	}
	if got, want := x.outputs("fifteens", 0, before); got != want {
		x.t.Errorf("the binding has appended %d events, want %d", got, want)
	}
}

// lanes are the positions of the handled events by lane, as those who watch say which stream is
// whose.
func (x *pluginTrials) lanes() [][]uint64 {
	x.t.Helper()
	laneOf := map[uint64]int{} // of some events
	f := x.watchers[0]
	f.mu.Lock()
	for _, run := range f.runs {
		for lane, positions := range run.changed {
			for _, p := range positions {
				laneOf[p] = lane
			}
		}
	}
	f.mu.Unlock()
	streams, lanes := map[string]int{}, make([][]uint64, 2)
	var events []core.Event
	for e, err := range core.ReadAll(x.t.Context(), x.client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			x.t.Fatal(err)
		}
		if !strings.HasPrefix(e.Stream, "in-") {
			continue
		}
		events = append(events, core.Event{Stream: e.Stream, Position: e.Position})
		if lane, ok := laneOf[e.Position]; ok {
			streams[e.Stream] = lane
		}
	}
	for _, e := range events {
		lane, ok := streams[e.Stream]
		if !ok {
			x.t.Fatalf("over %s nothing of %s was seen: %+v", f.over, e.Stream, f.runs)
		}
		lanes[lane] = append(lanes[lane], e.Position)
	}
	return lanes
}

// seenOnce checks that all who watch have seen each event once and in order, when everything is
// handled.
func (x *pluginTrials) seenOnce(what string) {
	x.t.Helper()
	x.handled()
	x.watched(what, x.binding, 2, x.watchers)
	lanes := x.lanes()
	for _, f := range x.watchers {
		if err := f.once(lanes); err != nil {
			x.t.Errorf("after %s: %v", what, err)
		}
	}
}

// lose takes the node at an index away, which is about to be killed, and those who watch there.
// Others stop to watch, to go on behind what they know when another node owns the binding.
func (x *pluginTrials) lose(node int) (paused []*stateFollower) {
	for _, f := range x.watchers[2*node : 2*node+2] {
		f.stop()
		paused = append(paused, f)
	}
	x.watchers, x.shadowed = slices.Delete(x.watchers, 2*node, 2*node+2), x.lastInput()
	return paused
}

// resume has those who have stopped watch at nodes that there are. Nothing was handled meanwhile: they
// go on without the state.
func (x *pluginTrials) resume(paused []*stateFollower) {
	x.t.Helper()
	for i, f := range paused {
		n, next := x.nodes[i%len(x.nodes)], f.resumed(f.over+", resumed")
		if i%2 == 0 {
			next.overEvents(x.t, n, x.binding)
		} else {
			next.overSocket(x.t, n, x.binding)
		}
		x.watchers = append(x.watchers, next)
	}
}

// keptOn checks that nobody who watches was sent the state again.
func (x *pluginTrials) keptOn(what string) {
	x.t.Helper()
	for _, f := range x.watchers {
		f.mu.Lock()
		if f.resets != 0 && len(f.runs) > 1 {
			x.t.Errorf("over %s, the state has come %d times by %s: %+v", f.over, f.resets, what, f.runs)
		}
		f.mu.Unlock()
	}
}

// readWhatIsWritten appends an event and asks each node over a WebSocket for state that is to be of it
// at least.
func (x *pluginTrials) readWhatIsWritten() {
	x.t.Helper()
	for _, n := range x.nodes {
		s := n.dialSocket(x.t)
		for what, ask := range map[string]func(lane int, last uint64) (value []byte, position uint64){
			"a key": func(lane int, last uint64) ([]byte, uint64) {
				var e plugins.Entry
				s.ask("plugin.state", fmt.Sprintf(`"binding":%q,"lane":%d,"key":"totals","atLeast":%d`, x.binding, lane, last), &e)
				return e.Value, e.Position
			},
			"a page": func(lane int, last uint64) ([]byte, uint64) {
				var p plugins.StatePage
				s.ask("plugin.state", fmt.Sprintf(`"binding":%q,"lane":%d,"prefix":"tot","atLeast":%d`, x.binding, lane, last), &p)
				return p.Entries[0].Value, p.Position
			},
			"a query": func(lane int, last uint64) ([]byte, uint64) {
				var a struct {
					ValueBase64 []byte
					Position    uint64
				}
				s.ask("plugin.query", fmt.Sprintf(`"binding":%q,"lane":%d,"query":"?","atLeast":%d`, x.binding, lane, last), &a)
				return a.ValueBase64, a.Position
			},
		} {
			x.feed(1)
			last, sum := x.lastInput(), int64(0)
			for lane := range 2 {
				value, position := ask(lane, last)
				if position < last {
					x.t.Errorf("%s: %s is of position %d, want %d at least", n.listen, what, position, last)
				}
				sum += int64(binary.LittleEndian.Uint64(value[8*len("total"):]))
			}
			if want := int64(x.fed * (x.fed - 1) / 2); sum != want {
				x.t.Errorf("%s: by %s the sum is %d, want %d", n.listen, what, sum, want)
			}
		}
		_ = s.Close()
	}
}
