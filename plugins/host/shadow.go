package host

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// shadowed is the version that runs in the shadow of a binding's, as it is stored.
type shadowed struct {
	Version string    `json:"version"`
	SHA256  string    `json:"sha256"`
	Began   time.Time `json:"began"`
}

const (
	// maxOverlayBytes bounds what the state of a shadow has otherwise than its binding's, in all
	// lanes.
	maxOverlayBytes = 16 << 20
	// maxShownBytes bounds what is kept of what each version did with an event.
	maxShownBytes = 2 << 10
	// mostSkipped bounds the batches that a shadow is not given after one that it did not handle in
	// time.
	mostSkipped = 64
	// perOverlaid is what an entry of an overlay costs beside its key and value.
	perOverlaid = 64
)

// shadow runs a version in the shadow of a runner's: it handles what its lanes have handled, on the
// same state, and nothing of what it does is written. It is a part of the runner, and ends with it.
type shadow struct {
	runner *runner
	ready  atomic.Bool // the fields below are set
	// binding is what the version would be deployed as.
	binding plugins.Binding
	program plugins.Program

	overlaid atomic.Int64 // bytes of what differs, of all lanes

	mu     sync.Mutex // protects the fields below
	begun  bool       // by a lane
	status plugins.ShadowStatus
	recent []plugins.ShadowDifference // the last, in order
}

func newShadow(r *runner) *shadow {
	is := r.binding.Shadow
	if is == nil || r.binding.role != roleLive {
		return nil
	}
	return &shadow{runner: r, status: plugins.ShadowStatus{Version: is.Version, SHA256: is.SHA256, Began: is.Began}}
}

// load makes the version ready, which may take seconds. The runner goes on meanwhile.
func (s *shadow) load(ctx context.Context) {
	if s == nil {
		return
	}
	h, live := s.runner.host, &s.runner.binding.Binding
	d := plugins.Deploy{Version: s.runner.binding.Shadow.Version}
	v, err := h.config.Versions.Version(ctx, live.Plugin, d.Version)
	if err == nil {
		s.binding, err = d.Resolve(live.Name, live, &v)
	}
	if err == nil {
		s.program, err = h.config.Programs.Load(ctx, v)
	}
	if err != nil {
		s.end("its version cannot run: " + core.AsError(err).Error())
		return
	}
	s.ready.Store(true)
}

// close frees the program, after the lanes have ended.
func (s *shadow) close() error {
	if s == nil || !s.ready.Load() {
		return nil
	}
	return s.program.Close()
}

// end has the shadow run no more.
func (s *shadow) end(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Ended == "" {
		s.status.Ended = why
	}
}

// runs reports whether there is a shadow that is given batches.
func (s *shadow) runs() bool {
	if s == nil || !s.ready.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Ended == ""
}

// show returns how it is doing.
func (s *shadow) show() plugins.ShadowStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status
	status.OverlayBytes = s.overlaid.Load()
	return status
}

// count takes notice of what was compared.
func (s *shadow) count(c *shadowCounts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := &s.status
	is.Events += c.events
	is.Dropped += c.dropped
	is.CallsOut += c.callsOut
	is.Outputs += c.outputs
	is.Writes += c.writes
	is.Fates += c.fates
	is.Fuel += c.fuel
	is.Seconds += c.took.Seconds()
	if c.why != "" {
		is.Why = c.why
	}
	for i := range c.differences {
		is.Differ++
		s.recent = append(s.recent, plugins.ShadowDifference{Seq: is.Differ, Difference: c.differences[i]})
	}
	if more := len(s.recent) - plugins.MaxDifferences; more > 0 {
		s.recent = slices.Delete(s.recent, 0, more)
	}
}

// Shadow has a version run in the shadow of the binding's, in place of another that does. The
// errors are those of Deploy, rebuild_under_way and shadow_differs.
//
// It returns when the version is given batches, unless the binding does not run, or that takes
// long.
func (h *Host) Shadow(ctx context.Context, name string, r plugins.Shadow) (plugins.Status, error) {
	return h.again(ctx, name, func() error {
		g, err := h.generations(ctx, name)
		switch {
		case err != nil:
			return err
		case g.beside != nil:
			return underWay(g.beside)
		}
		live := g.live
		switch {
		case r.Version == "":
			return core.Errorf(core.CodeInvalidRequest, "version is missing: say which version of plugin %q is to run in the shadow", live.Plugin)
		case r.Version == live.Version:
			return core.Errorf(core.CodeInvalidRequest, "binding %q runs version %q: another can run in its shadow", core.Clip(name), live.Version)
		}
		next, hold, err := h.resolve(ctx, name, &live.Binding, &plugins.Deploy{Version: r.Version, Admit: r.Admit})
		if err == nil {
			err = h.isAlike(ctx, &live.Binding, next)
		}
		if err != nil {
			return err
		}
		b := *live
		b.Shadow = &shadowed{Version: next.Version, SHA256: next.SHA256, Began: next.Deployed}
		err = h.replace(ctx, &b, hold)
		if err == nil && b.runs() {
			h.awaitShadow(ctx, name, b.Shadow)
		}
		return err
	})
}

const (
	// shadowWithin bounds the wait for a shadow, which is looked for every shadowLook.
	shadowWithin = 5 * time.Second
	shadowLook   = 5 * time.Millisecond
)

// awaitShadow waits until a shadow is given batches, or cannot be.
func (h *Host) awaitShadow(ctx context.Context, name string, is *shadowed) {
	ctx, cancel := context.WithTimeout(ctx, shadowWithin)
	defer cancel()
	for ctx.Err() == nil {
		if s := h.shadowOf(name); s != nil {
			if status := s.show(); status.Began.Equal(is.Began) && (s.ready.Load() || status.Ended != "") {
				return
			}
		}
		sleep(ctx, shadowLook)
	}
}

// shadowOf is the shadow of a binding at this node; nil if there is none.
func (h *Host) shadowOf(name string) *shadow {
	k := h.driver(name, roleLive)
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.runner == nil {
		return nil
	}
	return k.runner.shadow
}

// EndShadow has no version run in the shadow of the binding's. The errors are those of Pause, and
// shadow_not_found.
func (h *Host) EndShadow(ctx context.Context, name string) (plugins.Status, error) {
	return h.again(ctx, name, func() error {
		g, err := h.generations(ctx, name)
		switch {
		case err != nil:
			return err
		case g.live.Shadow == nil:
			return noShadow(name)
		}
		b := *g.live
		b.Shadow = nil
		return h.replace(ctx, &b)
	})
}

func noShadow(name string) error {
	return core.Errorf(core.CodeShadowNotFound, "no version runs in the shadow of binding %q", core.Clip(name))
}

// replace stores a binding in place of what it was read as, in one Commit with other records.
func (h *Host) replace(ctx context.Context, b *binding, with ...core.RecordOp) error {
	_, err := h.config.Store.Append(ctx, core.Commit{Records: append(with, b.put())})
	h.poke(b.Name)
	return err
}

// isAlike checks that a version wants the same as the one that the binding runs.
func (h *Host) isAlike(ctx context.Context, live, next *plugins.Binding) error {
	is, err := h.config.Versions.Version(ctx, live.Plugin, live.Version)
	if err != nil {
		return err
	}
	will, err := h.config.Versions.Version(ctx, next.Plugin, next.Version)
	if err != nil {
		return err
	}
	what := ""
	switch was, wants := &is.Manifest, &will.Manifest; {
	case was.Kind != wants.Kind:
		what = "its kind is " + string(wants.Kind) + ", that of version " + is.Version + " is " + string(was.Kind)
	case max(was.Lanes, 1) != max(wants.Lanes, 1):
		what = "its manifest has " + itoa(max(wants.Lanes, 1)) + " lanes, that of version " + is.Version + " has " + itoa(max(was.Lanes, 1))
	case !reflect.DeepEqual(was.Subscription, wants.Subscription):
		what = "its manifest has another subscription than that of version " + is.Version
	default:
		return nil
	}
	return core.Errorf(core.CodeShadowDiffers, "version %q of plugin %q cannot run in the shadow of binding %q: %s", next.Version, next.Plugin, core.Clip(live.Name), what)
}

// Differences returns how the shadow of a binding is doing, and what it did otherwise. The errors
// are those of Status, shadow_not_found and invalid_request.
func (h *Host) Differences(ctx context.Context, name string, r plugins.ShadowRequest) (plugins.ShadowReport, error) {
	s, err := h.Status(ctx, name)
	switch {
	case err != nil:
		return plugins.ShadowReport{}, err
	case r.Limit < 0 || r.Limit > plugins.MaxDifferences:
		return plugins.ShadowReport{}, core.Errorf(core.CodeInvalidRequest, "limit is %d, it may be from 1 to %d", r.Limit, plugins.MaxDifferences)
	case s.Shadow == nil:
		return plugins.ShadowReport{}, noShadow(name)
	}
	report := plugins.ShadowReport{Binding: name, Version: s.Version, Shadow: *s.Shadow, Differences: []plugins.ShadowDifference{}}
	if is := h.shadowOf(name); is != nil && is.show().Began.Equal(s.Shadow.Began) {
		report.Differences = is.last(r)
	}
	return report, nil
}

// last returns the last differences that a request asks for.
func (s *shadow) last(r plugins.ShadowRequest) []plugins.ShadowDifference {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.recent
	if r.Before > 0 {
		n, _ := slices.BinarySearchFunc(all, r.Before, func(d plugins.ShadowDifference, seq uint64) int { return cmp.Compare(d.Seq, seq) })
		all = all[:n]
	}
	if r.Limit > 0 && len(all) > r.Limit {
		all = all[len(all)-r.Limit:]
	}
	return append([]plugins.ShadowDifference{}, all...)
}
