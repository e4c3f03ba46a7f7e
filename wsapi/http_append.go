package wsapi

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/cloudevents"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// appendEvents is POST /v1/streams/{stream}/events.
func (a *API) appendEvents(w http.ResponseWriter, r *http.Request) error {
	stream := r.PathValue("stream")
	x, err := a.expected(w, r, stream)
	if err != nil {
		return a.refuseAppend(w, r, x, err)
	}
	events, err := a.eventsOf(w, r, stream)
	if err != nil {
		return err
	}
	return a.appendTo(w, r, x, core.Append{Stream: stream, Events: events})
}

// appendLinks is POST /v1/streams/{stream}/links.
func (a *API) appendLinks(w http.ResponseWriter, r *http.Request) error {
	element := core.Append{Stream: r.PathValue("stream")}
	x, err := a.expected(w, r, element.Stream)
	if err != nil {
		return a.refuseAppend(w, r, x, err)
	}
	body, kind, err := a.readBody(w, r)
	if err != nil {
		return err
	}
	if kind != typeJSON {
		return core.Errorf(core.CodeUnsupportedMediaType, "links are application/json")
	}
	var l linksBody
	if err := wire.UnmarshalStrict(body, &l); err != nil {
		return err
	}
	for _, id := range l.Links {
		element.Links = append(element.Links, core.ID(id))
	}
	return a.appendTo(w, r, x, element)
}

// linksBody names the events to link.
type linksBody struct {
	Links []wire.ID `json:"links"`
}

// appendTo appends to one stream, of which x is expected, and answers.
func (a *API) appendTo(w http.ResponseWriter, r *http.Request, x expectation, element core.Append) error {
	stream := element.Stream
	element.Expect, element.Incarnation = x.version, x.incarnation
	progress, err := askedProgress(r.URL.Query())
	if err != nil {
		return err
	}
	result, err := a.append(w, r, core.Commit{Appends: []core.Append{element}, Progress: progress})
	if err != nil {
		return a.refuseAppend(w, r, x, err)
	}
	first := result.Appends[0].FirstVersion
	h := w.Header()
	h.Set("ETag", etag(a.config.Store.State(), result.Appends[0].Incarnation, result.Appends[0].LastVersion, suffixes[typeJSON]))
	h.Set("Location", "/v1/streams/"+url.PathEscape(stream)+"/events?from="+strconv.FormatUint(first, 10)+
		"&limit="+strconv.Itoa(min(result.Appends[0].Count(), core.MaxReadEvents)))
	return a.writeResult(w, result, false)
}

// transaction is POST /v1/transactions.
func (a *API) transaction(w http.ResponseWriter, r *http.Request) error {
	body, kind, err := a.readBody(w, r)
	if err != nil {
		return err
	}
	if kind != typeJSON {
		return core.Errorf(core.CodeUnsupportedMediaType, "a transaction is application/json")
	}
	var t wire.Transaction
	if err := wire.UnmarshalStrict(body, &t); err != nil {
		return err
	}
	commit, puts, err := t.Core()
	if err != nil {
		return err
	}
	result, err := a.append(w, r, commit, puts...)
	if err != nil {
		return err
	}
	return a.writeResult(w, result, true)
}

func (a *API) append(w http.ResponseWriter, r *http.Request, commit core.Commit, puts ...core.SnapshotPut) (core.Result, error) {
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return core.Result{}, err
	}
	defer cancel()
	share := shareOf(w)
	if err := a.gates.Appends.Enter(share); err != nil {
		return core.Result{}, err
	}
	started := time.Now()
	defer a.gates.Appends.Leave(share, started)
	result, err := core.AppendWithSnapshots(ctx, a.config.Store, commit, puts)
	a.metrics.Appended(commit.Streams, result, err, time.Since(started))
	if err == nil && !result.Duplicate {
		a.metrics.SnapshotsRecorded(len(puts))
	}
	return result, err
}

// writeResult answers an append: 201, or 200 if it had been written before.
func (a *API) writeResult(w http.ResponseWriter, result core.Result, tx bool) error {
	a.nameOwner(w.Header(), &result)
	status := http.StatusCreated
	if result.Duplicate {
		status = http.StatusOK
	}
	body := wire.AppendResult([]byte{'{'}, result, tx)
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(append(body, '}', '\n'))
	return err
}

// eventsOf reads the events of a body.
func (a *API) eventsOf(w http.ResponseWriter, r *http.Request, stream string) ([]core.NewEvent, error) {
	body, kind, err := a.readBody(w, r)
	if err != nil {
		return nil, err
	}
	var event core.NewEvent
	switch kind {
	case typeNDJSON:
		return eventLines(body)
	case typeCloudBatch:
		return cloudevents.DecodeBatch(body, stream)
	case typeCloudEvent:
		event, err = cloudevents.Decode(body, stream)
	case binaryCloudEvent:
		event, err = cloudevents.DecodeBinary(r.Header, body, stream)
	default:
		return eventObjects(body)
	}
	return []core.NewEvent{event}, err
}

// eventObjects reads one object or an array of them.
func eventObjects(body []byte) ([]core.NewEvent, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		var events []wire.Event
		if err := wire.UnmarshalStrict(body, &events); err != nil {
			return nil, err
		}
		return wire.NewEvents(events)
	}
	var event wire.Event
	if err := wire.UnmarshalStrict(body, &event); err != nil {
		return nil, err
	}
	return wire.NewEvents([]wire.Event{event})
}

func eventLines(body []byte) ([]core.NewEvent, error) {
	var events []core.NewEvent
	number := 0
	for line := range bytes.Lines(body) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var event wire.Event
		err := wire.UnmarshalStrict(line, &event)
		var n core.NewEvent
		if err == nil {
			n, err = event.NewEvent()
		}
		if err != nil {
			e := core.AsError(err)
			return nil, core.Errorf(e.Code, "line %d: %s", number, e.Detail)
		}
		events = append(events, n)
	}
	return events, nil
}
