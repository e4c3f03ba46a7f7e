package api

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	typeNDJSON      = "application/x-ndjson"
	typeText        = "text/plain"
	typeEventStream = "text/event-stream"

	// maxWaitMs bounds the wait for a line.
	maxWaitMs = 30_000
)

// logs is GET /v1/plugins/{binding}/logs: a page as JSON, lines of JSON or text; or the lines as
// they come, as server-sent events.
func (a *api) logs(w http.ResponseWriter, r *http.Request) error {
	kind, err := wsapi.Accepted(r, typeJSON, typeNDJSON, typeText, typeEventStream)
	if err != nil {
		return err
	}
	asked, err := logsRequest(r)
	if err != nil {
		return err
	}
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	binding := r.PathValue("binding")
	if _, err := a.Bindings.Binding(ctx, binding); err != nil {
		return err
	}
	if kind == typeEventStream {
		return a.streamLogs(w, r, binding, asked)
	}
	page, err := a.Logs.Read(ctx, binding, asked)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	if kind == typeJSON {
		page.Lines = append([]plugins.LogLine{}, page.Lines...)
		return wsapi.WriteJSON(w, http.StatusOK, page)
	}
	var text bytes.Buffer
	for i := range page.Lines {
		line := []byte(page.Lines[i].String())
		if kind == typeNDJSON {
			if line, err = wire.Marshal(&page.Lines[i]); err != nil {
				return err
			}
		}
		text.Write(append(line, '\n'))
	}
	if kind == typeText {
		kind += "; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, err = w.Write(text.Bytes())
	return err
}

func logsRequest(r *http.Request) (asked plugins.LogsRequest, err error) {
	q := r.URL.Query()
	number := func(name string, most uint64) uint64 {
		var n uint64
		if err == nil {
			n, err = wsapi.Number(q, name, 0, most)
		}
		return n
	}
	asked.After = number("after", core.MaxNumber)
	asked.Last, asked.Limit = int(number("last", core.MaxReadEvents)), int(number("limit", core.MaxReadEvents))
	asked.Wait = time.Duration(number("waitMs", maxWaitMs)) * time.Millisecond
	if asked.Limit == 0 {
		asked.Limit = core.MaxReadEvents
	}
	// A browser that comes back says where it was.
	if last := r.Header.Get("Last-Event-ID"); last != "" && err == nil {
		asked.Last = 0
		if asked.After, err = strconv.ParseUint(last, 10, 64); err != nil {
			err = core.Errorf(core.CodeInvalidCursor, "Last-Event-ID is not the number of a line")
		}
	}
	return asked, err
}

// streamLogs sends lines as server-sent events, the id of each its number.
func (a *api) streamLogs(w http.ResponseWriter, r *http.Request, binding string, asked plugins.LogsRequest) error {
	first := asked
	first.Wait = 0
	page, err := a.Logs.Read(r.Context(), binding, first) // an error is still a problem
	if err != nil {
		return err
	}
	return wsapi.EventStream(w, r, func(ctx context.Context, wait time.Duration) (text []byte, err error) {
		if len(page.Lines) == 0 {
			page, err = a.Logs.Read(ctx, binding, plugins.LogsRequest{After: page.Next, Limit: asked.Limit, Wait: wait})
			if err != nil {
				return nil, err
			}
		}
		for i := range page.Lines {
			line, err := wire.Marshal(&page.Lines[i])
			if err != nil {
				return nil, err
			}
			text = append(strconv.AppendUint(append(text, "id: "...), page.Lines[i].Seq, 10), "\ndata: "...)
			text = append(append(text, line...), "\n\n"...)
		}
		page.Lines = nil
		return text, nil
	})
}

// followed is what the sub plugin.logs sends.
type followed struct {
	api     *api
	binding string
	page    plugins.LogsPage
}

// followLogs opens the sub plugin.logs.
func (a *api) followLogs(ctx context.Context, message []byte) (wsapi.Stream, error) {
	var m struct {
		Binding string `json:"binding"`
		After   uint64 `json:"after"`
		Last    int    `json:"last"`
	}
	if err := wire.Unmarshal(message, &m); err != nil {
		return nil, err
	}
	if m.Last < 0 || m.Last > core.MaxReadEvents {
		return nil, core.Errorf(core.CodeInvalidRequest, "last %d is not from 0 to %d", m.Last, core.MaxReadEvents)
	}
	if _, err := a.Bindings.Binding(ctx, m.Binding); err != nil {
		return nil, err
	}
	page, err := a.Logs.Read(ctx, m.Binding, plugins.LogsRequest{After: m.After, Last: m.Last, Limit: core.MaxReadEvents})
	return &followed{a, m.Binding, page}, err
}

// Run is part of wsapi.Stream.
func (f *followed) Run(ctx context.Context, send func(any) error) error {
	for {
		for i := range f.page.Lines {
			if err := send(&f.page.Lines[i]); err != nil {
				return err
			}
		}
		var err error
		f.page, err = f.api.Logs.Read(ctx, f.binding, plugins.LogsRequest{
			After: f.page.Next, Limit: core.MaxReadEvents, Wait: maxWaitMs * time.Millisecond,
		})
		if err != nil {
			return err
		}
	}
}

// Close is part of wsapi.Stream.
func (*followed) Close() {}
