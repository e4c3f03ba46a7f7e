package judge

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/plugins"
)

// Totals are what a version has judged for subscriptions at this node.
type Totals struct {
	Plugin, Version string
	Kind            plugins.Kind
	Events          uint64 // that were judged
	Faults          uint64 // events of those that the version failed on
	Fuel            uint64
	Seconds         float64
}

// counts are Totals under way.
type counts struct {
	plugin, version      string
	kind                 plugins.Kind
	events, faults, fuel atomic.Uint64
	nanos                atomic.Int64
	users                int // programs; counted.mu protects it
}

// counted has the counts of versions.
type counted struct {
	mu sync.Mutex // protects the field below
	of map[string]*counts
}

// maxCounted bounds the versions that nobody uses any more, and whose counts are kept.
const maxCounted = 256

// use returns the counts of a version for a program, which gives them back with release.
func (c *counted) use(v *plugins.Version) *counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := v.Plugin + "@" + v.Version
	if c.of == nil {
		c.of = map[string]*counts{}
	}
	if len(c.of) >= maxCounted {
		for key, old := range c.of {
			if old.users == 0 {
				delete(c.of, key)
			}
		}
	}
	if c.of[key] == nil {
		c.of[key] = &counts{plugin: v.Plugin, version: v.Version, kind: v.Manifest.Kind}
	}
	c.of[key].users++
	return c.of[key]
}

func (c *counted) release(n *counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.users--
}

// add counts verdicts, which took so much fuel, since a moment.
func (n *counts) add(verdicts []Verdict, fuel int64, began time.Time) {
	faults := uint64(0)
	for i := range verdicts {
		if verdicts[i].Fault != "" {
			faults++
		}
	}
	n.events.Add(uint64(len(verdicts)))
	n.faults.Add(faults)
	n.fuel.Add(uint64(fuel))
	n.nanos.Add(int64(time.Since(began)))
}

// Totals returns those of the versions that subscriptions use, or have used, by their names.
func (s *Judges) Totals() []Totals {
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	list := make([]Totals, 0, len(s.counted.of))
	for _, n := range s.counted.of {
		list = append(list, Totals{
			Plugin: n.plugin, Version: n.version, Kind: n.kind, Events: n.events.Load(), Faults: n.faults.Load(), Fuel: n.fuel.Load(),
			Seconds: time.Duration(n.nanos.Load()).Seconds(),
		})
	}
	slices.SortFunc(list, func(a, b Totals) int { return strings.Compare(a.Plugin+"@"+a.Version, b.Plugin+"@"+b.Version) })
	return list
}
