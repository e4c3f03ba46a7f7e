package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxLine bounds a line of another node: a change of all that one Commit may have.
const maxLine = 16 << 20

// errBrokenOff is why another node has sent no end.
var errBrokenOff = errors.New("the node that owns the binding has broken off")

// remoteWatch is the plugins.Watch of another node: a request that is answered line by line. It is
// the http.ResponseWriter of that.
type remoteWatch struct {
	cancel context.CancelFunc
	ctx    context.Context
	begun  chan struct{} // closed when the node has accepted
	ended  chan struct{} // closed at the end
	lines  chan []byte
	err    error // why it has ended; set before ended is closed

	header http.Header
	status int
	rest   []byte // of a line, or the problem
	heard  time.Time
}

// openRemote begins a watch at another node. It is refused until ctx ends, and goes on until open
// ends.
func openRemote(ctx, open context.Context, owner wsapi.Forwarder, binding string, asked *plugins.WatchRequest) (plugins.Watch, error) {
	w := &remoteWatch{begun: make(chan struct{}), ended: make(chan struct{}), lines: make(chan []byte), header: http.Header{}, heard: time.Now()}
	// A proxy panics for the server of a request that it cannot finish; here is none.
	w.ctx, w.cancel = context.WithCancel(context.WithValue(open, http.ServerContextKey, nil))
	there := request{method: http.MethodGet, path: statePath(binding, "/state"), query: url.Values{"watch": {""}}, accept: typeNDJSON}
	for name, value := range map[string]string{"prefix": asked.Prefix, "cursor": asked.Cursor} {
		if value != "" {
			there.query.Set(name, value)
		}
	}
	if asked.Lane != plugins.OnlyLane {
		there.query.Set("lane", strconv.Itoa(asked.Lane))
	}
	r, err := there.make(w.ctx, time.Time{})
	if err != nil {
		w.cancel()
		return nil, err
	}
	go func() {
		defer close(w.ended)
		w.err = w.outcome(owner.Forward(w.ctx, w, r))
	}()
	select {
	case <-w.begun:
		return w, nil
	case <-w.ended:
		w.cancel()
		return nil, w.err
	case <-ctx.Done():
		w.Close()
		return nil, core.AsError(ctx.Err())
	}
}

// outcome is why the answer has ended.
func (w *remoteWatch) outcome(err error) error {
	switch {
	case err != nil:
		return err
	case w.status >= http.StatusMultipleChoices:
		return problem(w.status, w.rest)
	}
	return errBrokenOff
}

// Header is http.ResponseWriter's.
func (w *remoteWatch) Header() http.Header { return w.header }

// WriteHeader is http.ResponseWriter's.
func (w *remoteWatch) WriteHeader(status int) {
	if w.status = status; status < http.StatusMultipleChoices {
		close(w.begun)
	}
}

// Flush is http.Flusher's: each line is passed on at once.
func (*remoteWatch) Flush() {}

// Write is http.ResponseWriter's.
func (w *remoteWatch) Write(p []byte) (int, error) {
	if len(w.rest)+len(p) > maxLine {
		return 0, errBrokenOff
	}
	w.rest = append(w.rest, p...)
	if w.status >= http.StatusMultipleChoices {
		return len(p), nil
	}
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte{'\n'})
		if !whole {
			return len(p), nil
		}
		select {
		case w.lines <- bytes.Clone(line):
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
		w.rest = append(w.rest[:0], rest...)
	}
}

// Next is plugins.Watch.Next.
func (w *remoteWatch) Next(ctx context.Context, wait time.Duration) (*plugins.WatchMessage, error) {
	late := time.NewTimer(wait)
	defer late.Stop()
	for {
		select {
		case line := <-w.lines:
			w.heard = time.Now()
			if len(line) > 0 {
				return message(line)
			}
		case <-w.ended:
			return nil, w.err
		case <-late.C:
			if time.Since(w.heard) > relayIdle {
				return nil, errBrokenOff
			}
			return nil, nil
		case <-ctx.Done():
			return nil, core.AsError(ctx.Err())
		}
	}
}

// message reads a line.
func message(line []byte) (*plugins.WatchMessage, error) {
	var m struct {
		plugins.WatchMessage
		Error *wire.Error `json:"error"`
	}
	if err := wire.Unmarshal(line, &m); err != nil {
		return nil, core.Errorf(core.CodeInternal, "a line of another node: %w", err)
	}
	if m.Error == nil {
		return &m.WatchMessage, nil
	}
	if m.Error.Code == core.CodeShuttingDown {
		return nil, errBrokenOff
	}
	return nil, m.Error.Err()
}

// Close is plugins.Watch.Close. It waits for the end of the request.
func (w *remoteWatch) Close() {
	w.cancel()
	<-w.ended
}
