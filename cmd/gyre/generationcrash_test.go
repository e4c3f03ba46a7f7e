package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// generationCrashes are the kinds of nodes that TestGenerationCrash kills, and how often: by
// default, and with GYRE_SOAK=1.
var generationCrashes = []struct {
	name        string
	kills, soak int
	nodes       func(t *testing.T) []*ringNode
}{
	{"disk", 5, 100, nodeOnDisk},
	{"postgres", 0, 100, nodeInPostgres},
	{"ring", 0, 100, ringOfThree}, // TestPluginsAtEveryNode kills one in a rebuild
}

// TestGenerationCrash kills the node that runs a plugin with SIGKILL at random moments of rebuilds,
// switches and rollbacks, while the history that it handles is being appended. After each, one
// generation is live, and its state is what it has made of the events up to its checkpoints. In the
// end what it has appended and its state are those of a run that nobody has disturbed, but for ids;
// and who has watched the state has seen each change once, in order.
func TestGenerationCrash(t *testing.T) {
	t.Parallel()
	gyre, module := plainProgram(t, "gyre"), filepath.Join(t.TempDir(), "hotspot.wasm")
	goBuild(t, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "-buildmode=c-shared", "-ldflags=-s -w", "-o", module, "./testdata/hotspot")
	events := slices.DeleteFunc(history(t), func(a core.Append) bool { return a.Events[0].ID[15]%64 == 7 }) // it would park them
	for _, kind := range generationCrashes {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			kills := kind.kills
			if os.Getenv("GYRE_SOAK") != "" {
				kills = kind.soak
			}
			if kills == 0 {
				t.Skip("GYRE_SOAK is not set")
			}
			run := startPluginRun(t, gyre, kind.nodes(t))
			run.deploy(module)
			var followers []*stateFollower
			for _, n := range run.nodes {
				followers = append(followers, followState(t, n, "hotspot"))
			}
			run.changeGenerations(events, kills)
			got, want := run.result(), hotspots(events)
			for stream, list := range got.Streams {
				for i := range list {
					list[i].ID, list[i].Metadata = core.ID{}, ""
				}
				got.Streams[stream] = list
			}
			same(t, "stream", got.Streams, want)
			run.checkState()
			run.watched(fmt.Sprint(kills, " kills"), "hotspot", hotspotLanes, followers)
		})
	}
}

// hotspots is what the plugin appends for events, without ids and metadata.
func hotspots(events []core.Append) map[string][]pluginEvent {
	streams, changes := map[string][]pluginEvent{}, map[string]int{}
	for _, e := range events {
		if !strings.HasPrefix(e.Stream, "file-") {
			continue
		}
		if changes[e.Stream]++; changes[e.Stream]%5 == 0 {
			to := "hotspot-" + e.Stream
			streams[to] = append(streams[to], pluginEvent{
				Version: uint64(len(streams[to]) + 1), Type: "HotspotDetected", Data: `{"file":"` + e.Stream + `"}`,
			})
		}
	}
	return streams
}

// changeGenerations appends events, a part of them around each kill, and changes generations
// meanwhile. After each tenth kill the node that runs the plugin is stopped, too. In the end
// everything is handled, and no rebuild is under way.
func (r *pluginRun) changeGenerations(events []core.Append, kills int) {
	r.t.Helper()
	parts := kills + 1
	for i := range parts {
		part := events[i*len(events)/parts : (i+1)*len(events)/parts]
		appended := make(chan error, 1)
		go func() { appended <- r.appendAll(part) }()
		if i < kills {
			killed := make(chan struct{})
			changed := make(chan struct{})
			go func() {
				defer close(changed)
				r.change(killed)
			}()
			<-time.NewTimer(rand.N(2 * pluginKillDelay)).C
			r.kill()
			if i%10 == 9 {
				r.runner().restart() // which hands over what it owns
			}
			close(killed)
			<-changed
		}
		if err := <-appended; err != nil {
			r.t.Fatal(err)
		}
		if i < kills {
			r.checkState()
		}
	}
	last := r.lastFile()
	r.until(func(s *plugins.Status) error {
		if s.Beside != nil && s.Beside.Hold {
			_ = r.ask("POST", "/switch", "", nil, s) // it is tried again
		}
		if s.Beside != nil || s.Checkpoint < last {
			return fmt.Errorf("the checkpoint is %d of %d, beside it is %+v", s.Checkpoint, last, s.Beside)
		}
		return nil
	})
}

// change rebuilds, switches and rolls back until the node was killed. It fails now and then: the node
// is away, or there is nothing to switch to.
func (r *pluginRun) change(killed <-chan struct{}) {
	orders := [][2]string{
		{"/rebuild", `{}`}, {"/rebuild", `{"hold":true}`}, {"/switch", ``}, {"/switch", ``}, {"/rollback", `{"to":"generation"}`},
	}
	for {
		order := orders[rand.N(len(orders))]
		var answer json.RawMessage
		_ = r.ask("POST", order[0], "application/json", strings.NewReader(order[1]), &answer) // see above
		select {
		case <-killed:
			return
		case <-time.NewTimer(rand.N(20 * time.Millisecond)).C:
		}
	}
}

// checkState checks that the state of the live generation is what it has made of the events up to the
// checkpoints of its lanes, and of no other.
func (r *pluginRun) checkState() {
	r.t.Helper()
	positions := map[string][]uint64{} // of each file
	for e, err := range core.ReadAll(r.t.Context(), r.client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "file-") {
			positions[e.Stream] = append(positions[e.Stream], e.Position)
		}
	}
	order := func(what string) (s plugins.Status) {
		r.t.Helper()
		if err := until(drainedWithin, func() error { return r.ask("POST", what, "", nil, &s) }); err != nil {
			r.t.Fatal(err)
		}
		return s
	}
	for {
		before := order("/pause")
		result := r.result()
		s := order("/pause")
		if s.Generation != before.Generation || !slices.Equal(s.LaneStatus, before.LaneStatus) {
			continue // it was switched meanwhile, or a Commit was under way
		}
		if s.Beside != nil && s.Before != nil {
			r.t.Errorf("generation %d is live, with %d beside and %d before", s.Generation, s.Beside.Generation, s.Before.Generation)
		}
		for lane, state := range result.State {
			for key, value := range state {
				file := strings.TrimPrefix(key, "changes ")
				want := 0
				for want < len(positions[file]) && positions[file][want] <= s.LaneStatus[lane].Checkpoint {
					want++
				}
				if value != fmt.Sprint(want) {
					r.t.Errorf("generation %d, lane %d at %d: %s has %s changes, want %d", s.Generation, lane, s.LaneStatus[lane].Checkpoint, file, value, want)
				}
			}
		}
		break
	}
	order("/resume")
}
