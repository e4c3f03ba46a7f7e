package wsapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// fetchBody asks for events of a subscription, for a client without a connection.
type fetchBody struct {
	Max      int    `json:"max,omitzero"`    // events; 100 if 0
	WaitMs   int64  `json:"waitMs,omitzero"` // for a place, and the first of them
	Consumer string `json:"consumer,omitzero"`
	Workers  int    `json:"workers,omitzero"`

	// As in op subscribe; transient is refused, since there is no connection.
	Options     jsontext.Value `json:"options,omitzero"`
	AnyOptions  bool           `json:"anyOptions,omitzero"`
	Incarnation string         `json:"incarnation,omitzero"`
	Transient   bool           `json:"transient,omitzero"`
}

// fetch is POST /v1/subscriptions/{subscription}/fetch.
func (a *API) fetch(w http.ResponseWriter, r *http.Request) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	var body fetchBody
	if err := a.jsonBody(w, r, &body); err != nil {
		return err
	}
	join, err := a.fetchRequest(name, &body)
	if err != nil {
		return err
	}
	join.Credit.Bytes = int64(a.memory.Piece(requests.PageBytes)) // taken when there are events
	began := time.Now()
	ctx, stop := a.untilClose(ctx)
	defer stop()
	lease, err := subscriptions.JoinWaiting(ctx, subs, join)
	if err != nil {
		return err
	}
	d, err := firstDelivery(ctx, lease, join.Wait-time.Since(began))
	if err == nil {
		err = memoryOf(w).Settle(0, len(d.Block))
	}
	if err != nil || d.Count == 0 {
		lease.Leave(true)
	}
	if err != nil {
		return err
	}
	a.metrics.Read(d.Count)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", typeJSON)
	if _, err := w.Write(append(appendFetched(nil, &d), '\n')); err != nil {
		lease.Leave(true) // nobody has them
		return err
	}
	return nil
}

func (a *API) fetchRequest(name string, body *fetchBody) (subscriptions.JoinRequest, error) {
	r := subscriptions.JoinRequest{Name: name, Consumer: body.Consumer, Workers: body.Workers, Transient: body.Transient, Detached: true}
	wait, err := requests.Milliseconds("waitMs", body.WaitMs)
	switch {
	case err != nil:
		return r, err
	case body.Max < 0 || body.Max > core.MaxReadEvents:
		return r, core.Errorf(core.CodeInvalidRequest, "max is from 1 to %d", core.MaxReadEvents)
	}
	if err := requests.Consumer(body.Consumer, body.Workers, 0); err != nil {
		return r, err
	}
	if err := requests.Define(&r, body.Options, body.AnyOptions, body.Incarnation); err != nil {
		return r, err
	}
	r.Wait = min(wait, a.config.Limits.MaxRequest)
	r.Credit.Events = int64(body.Max)
	if body.Max == 0 {
		r.Credit.Events = core.DefaultReadEvents
	}
	return r, nil
}

// firstDelivery waits for events, but not longer than is asked for. None is no error.
func firstDelivery(ctx context.Context, lease *subscriptions.Waiting, wait time.Duration) (subscriptions.Delivery, error) {
	// What is there already has to be read from the log before it can be sent.
	const least = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, max(wait, least))
	defer cancel()
	var last subscriptions.Delivery
	for {
		d, err := lease.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes})
		switch {
		case ctx.Err() != nil && (errors.Is(err, core.CodeTimeout) || errors.Is(err, core.CodeCanceled)):
			return last, nil
		case err != nil || d.Count > 0:
			return d, err
		case d.State != delivery.CatchUp && wait <= 0:
			return d, nil
		}
		last = d
	}
}

// appendFetched encodes the answer to a fetch. Without events there is no lease.
func appendFetched(dst []byte, d *subscriptions.Delivery) []byte {
	dst = append(dst, '{')
	if d.Count > 0 {
		dst = append(dst, `"lease":`...)
		dst = strconv.AppendUint(dst, d.Lease, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"events":`...)
	dst = wire.AppendEvents(dst, d.Batch, d.Attempts, d.Replay)
	dst = append(dst, `,"state":"`...)
	dst = append(dst, d.State...)
	dst = append(dst, `","checkpoint":`...)
	dst = strconv.AppendUint(dst, d.Checkpoint, 10)
	dst = append(dst, `,"lag":`...)
	dst = strconv.AppendUint(dst, d.Lag(), 10)
	dst = append(dst, `,"incarnation":"`...)
	dst = append(dst, d.Incarnation...)
	return append(dst, `"}`...)
}

// ackBody answers what was fetched.
type ackBody struct {
	Lease       uint64   `json:"lease"`
	Positions   []uint64 `json:"positions,omitzero"`
	UpTo        uint64   `json:"upTo,omitzero"`
	Versions    []uint64 `json:"versions,omitzero"`
	UpToVersion uint64   `json:"upToVersion,omitzero"`
	Durable     bool     `json:"durable,omitzero"` // answered when it is stored
}

type nackBody struct {
	Lease     uint64   `json:"lease"`
	Positions []uint64 `json:"positions,omitzero"`
	Versions  []uint64 `json:"versions,omitzero"`
	Action    string   `json:"action"`
	DelayMs   *int64   `json:"delayMs,omitzero"`
	Reason    string   `json:"reason,omitzero"`
}

type extendBody struct {
	Lease     uint64   `json:"lease"`
	Positions []uint64 `json:"positions,omitzero"`
	Versions  []uint64 `json:"versions,omitzero"`
	Ms        int64    `json:"ms"`
}

// ackFetched is POST /v1/subscriptions/{subscription}/ack.
func (a *API) ackFetched(w http.ResponseWriter, r *http.Request) error {
	var b ackBody
	return a.answerFetched(w, r, &b, &b.Lease, func() (subscriptions.Answer, error) {
		return requests.Ack(&wire.Ack{Positions: b.Positions, UpTo: b.UpTo, Versions: b.Versions, UpToVersion: b.UpToVersion, Durable: b.Durable})
	})
}

// nackFetched is POST /v1/subscriptions/{subscription}/nack.
func (a *API) nackFetched(w http.ResponseWriter, r *http.Request) error {
	var b nackBody
	return a.answerFetched(w, r, &b, &b.Lease, func() (subscriptions.Answer, error) {
		return requests.Nack(&wire.Nack{Positions: b.Positions, Versions: b.Versions, Action: b.Action, DelayMs: b.DelayMs, Reason: b.Reason})
	})
}

// extendFetched is POST /v1/subscriptions/{subscription}/extend.
func (a *API) extendFetched(w http.ResponseWriter, r *http.Request) error {
	var b extendBody
	return a.answerFetched(w, r, &b, &b.Lease, func() (subscriptions.Answer, error) {
		return requests.Extend(&wire.Extend{Positions: b.Positions, Versions: b.Versions, Ms: b.Ms})
	})
}

// answerFetched reads a body, and gives its answer under its lease.
func (a *API) answerFetched(w http.ResponseWriter, r *http.Request, body any, lease *uint64, answer func() (subscriptions.Answer, error)) error {
	name, subs, ctx, cancel, err := a.named(r)
	if err != nil {
		return err
	}
	defer cancel()
	if err := a.jsonBody(w, r, body); err != nil {
		return err
	}
	if *lease == 0 {
		return core.Errorf(core.CodeInvalidRequest, "lease is missing; fetch answers it")
	}
	what, err := answer()
	if err != nil {
		return err
	}
	s, err := subs.Join(ctx, subscriptions.JoinRequest{Name: name, Lease: *lease})
	if err != nil {
		return err
	}
	if err := subscriptions.Do(ctx, s, what); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
