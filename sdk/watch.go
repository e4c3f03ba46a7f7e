package sdk

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// watchIdle is how long a watch may be without a sign of life, which comes every 5 seconds.
	watchIdle = 20 * time.Second
	// maxWatchLine bounds a message.
	maxWatchLine = 16 << 20
	// mostWatchBackoff bounds the pause before a watch comes back.
	mostWatchBackoff = 5 * time.Second
)

// errEnough ends a watch whose messages nobody takes any more.
var errEnough = errors.New("enough")

// Watch watches the state of a binding: first what there is, up to the message plugins.WatchLive,
// and then what changes. A connection that is lost comes back, and goes on where it was if the node
// still knows what came since; else the state comes again, from a message with Reset on. It ends when
// ctx does, whose error it does not report, or with an error that does not pass, such as
// binding_not_found.
//
//	for m, err := range client.Plugins().Watch(ctx, "changes", plugins.WatchRequest{Lane: plugins.OnlyLane}) { … }
func (p Plugins) Watch(ctx context.Context, binding string, r plugins.WatchRequest) iter.Seq2[*plugins.WatchMessage, error] {
	return func(yield func(*plugins.WatchMessage, error) bool) {
		backoff := minBackoff
		for {
			got := false
			err := p.watchOnce(ctx, binding, &r, func(m *plugins.WatchMessage) bool {
				got = true
				return yield(m, nil)
			})
			switch {
			case errors.Is(err, errEnough), ctx.Err() != nil:
				return
			case !core.AsError(err).Info().Retryable || p.client.options.Once:
				yield(nil, err)
				return
			}
			if got {
				backoff = minBackoff
			}
			pause := time.NewTimer(backoff + rand.N(backoff))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
			backoff = min(2*backoff, mostWatchBackoff)
		}
	}
}

// watchOnce watches over one connection. What it has seen goes into r, to go on.
func (p Plugins) watchOnce(ctx context.Context, binding string, r *plugins.WatchRequest, take func(*plugins.WatchMessage) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(watchIdle, func() {
		cancel(core.Errorf(core.CodeUnavailable, "there was no sign of life in %s", watchIdle))
	})
	defer idle.Stop()
	query := stateQuery(r.Lane, 0)
	query.Set("watch", "true")
	for name, value := range map[string]string{"prefix": r.Prefix, "cursor": r.Cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	var failed error
	request := httpRequest{method: http.MethodGet, path: pluginPath(binding, "/state") + "?" + query.Encode(), accept: "application/x-ndjson"}
	request.take = func(from io.Reader) error {
		failed = readWatch(from, r, take, func() { idle.Reset(watchIdle) })
		return nil
	}
	if _, err := p.client.try(ctx, p.client.nodesNow(), &request); err != nil {
		failed = err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(failed, errEnough) {
		return cause
	}
	return failed
}

// readWatch reads messages until the answer ends, which is an error.
func readWatch(from io.Reader, r *plugins.WatchRequest, take func(*plugins.WatchMessage) bool, alive func()) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxWatchLine)
	for lines.Scan() {
		alive()
		if len(lines.Bytes()) == 0 {
			continue
		}
		var m struct {
			plugins.WatchMessage
			Error *wire.Error `json:"error"`
		}
		if err := wire.Unmarshal(lines.Bytes(), &m); err != nil {
			return core.Errorf(core.CodeProtocolError, "the message cannot be understood: %w", err)
		}
		if m.Error != nil {
			return m.Error.Err()
		}
		if m.Reset {
			r.Cursor = "" // until the state is whole
		}
		if m.Cursor != "" {
			r.Cursor = m.Cursor
		}
		if !take(&m.WatchMessage) {
			return errEnough
		}
	}
	return core.Errorf(core.CodeUnavailable, "the answer broke off: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}
