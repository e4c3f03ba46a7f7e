package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// dryRunMessage is what a dry run sends: progress, and then the result.
type dryRunMessage struct {
	Progress *plugins.DryRunProgress `json:"progress,omitzero"`
	Result   *plugins.DryRunResult   `json:"result,omitzero"`
}

// dryRun is POST /v1/plugins/{binding}/dry-run: messages as lines of JSON, or as server-sent
// events. What goes wrong before the first of them is answered as a problem.
func (a *api) dryRun(w http.ResponseWriter, r *http.Request) error {
	kind, err := wsapi.Accepted(r, typeNDJSON, typeEventStream)
	if err != nil {
		return err
	}
	var asked plugins.DryRun
	if err := wsapi.ReadJSON(w, r, &asked); err != nil {
		return err
	}
	run := a.startDryRun(r.Context(), r.PathValue("binding"), asked)
	defer run.stop()
	last, err := run.next(r.Context(), wsapi.HeartbeatOf(w))
	if err != nil {
		return err
	}
	first := true
	next := func(ctx context.Context, wait time.Duration) ([]byte, error) {
		switch {
		case first:
			first = false
		case last.Result != nil:
			return nil, io.EOF
		default:
			if last, err = run.next(ctx, wait); err != nil {
				return nil, err
			}
		}
		return dryRunText(kind, &last)
	}
	if kind == typeEventStream {
		return wsapi.EventStream(w, r, next)
	}
	return wsapi.LineStream(w, r, next)
}

// dryRunText is a message in a body of a kind.
func dryRunText(kind string, m *dryRunMessage) ([]byte, error) {
	text, err := wire.Marshal(m)
	if err != nil {
		return nil, err
	}
	if kind == typeEventStream {
		text = append([]byte("data: "), text...)
		return append(text, "\n\n"...), nil
	}
	return append(text, '\n'), nil
}

// startedDryRun is a dry run under way, with a goroutine of its own.
type startedDryRun struct {
	cancel   context.CancelFunc
	messages chan dryRunMessage // progress, of which some may be left out; and the result, unless err
	ended    chan struct{}      // closed at the end
	err      error              // why there is no result; set before ended is closed
	last     dryRunMessage
}

// startDryRun starts a dry run. stop ends it.
func (a *api) startDryRun(ctx context.Context, binding string, asked plugins.DryRun) *startedDryRun {
	ctx, cancel := context.WithCancel(ctx)
	run := &startedDryRun{cancel: cancel, messages: make(chan dryRunMessage, 1), ended: make(chan struct{}), last: dryRunMessage{Progress: &plugins.DryRunProgress{}}}
	go func() {
		defer close(run.ended)
		if run.err = a.handles(ctx, binding, "dry runs: it judges what is appended, and no stored events"); run.err != nil {
			return
		}
		result, err := a.Bindings.DryRun(ctx, binding, asked, func(p plugins.DryRunProgress) {
			select {
			case run.messages <- dryRunMessage{Progress: &p}:
			default: // whoever reads is slow
			}
		})
		if err != nil {
			run.err = err
			return
		}
		select {
		case run.messages <- dryRunMessage{Result: &result}:
		case <-ctx.Done():
			run.err = ctx.Err()
		}
	}()
	return run
}

// next waits for the next message, or as long as wait; then it is the last one again.
func (s *startedDryRun) next(ctx context.Context, wait time.Duration) (dryRunMessage, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case s.last = <-s.messages:
	case <-timer.C:
	case <-ctx.Done():
		return s.last, ctx.Err()
	case <-s.ended:
		select {
		case s.last = <-s.messages: // it came before the end
		default:
			return s.last, s.err
		}
	}
	return s.last, nil
}

// stop ends the dry run, and waits for its end.
func (s *startedDryRun) stop() {
	s.cancel()
	<-s.ended
}

// dryRunSub is what the sub plugin.dryRun sends.
type dryRunSub struct {
	api     *api
	binding string
	asked   plugins.DryRun
}

// openDryRun opens the sub plugin.dryRun.
func (a *api) openDryRun(_ context.Context, message []byte) (wsapi.Stream, error) {
	var m struct {
		Binding string `json:"binding"`
		plugins.DryRun
	}
	if err := wire.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	return &dryRunSub{a, m.Binding, m.DryRun}, m.DryRun.Validate()
}

// Run is part of wsapi.Stream. It ends behind the result.
func (s *dryRunSub) Run(ctx context.Context, send func(any) error) error {
	run := s.api.startDryRun(ctx, s.binding, s.asked)
	defer run.stop()
	for {
		m, err := run.next(ctx, time.Minute)
		if err != nil {
			return err
		}
		if err := send(&m); err != nil || m.Result != nil {
			return err
		}
	}
}

// Close is part of wsapi.Stream.
func (*dryRunSub) Close() {}
