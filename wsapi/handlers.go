package wsapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// apiOf returns the API of a request to a route, by the ResponseWriter of its handler.
func apiOf(w http.ResponseWriter) *API { return w.(*recorder).api }

// Timeout returns the request's context with its deadline: Gyre-Timeout, or the default.
func Timeout(w http.ResponseWriter, r *http.Request) (context.Context, context.CancelFunc, error) {
	return apiOf(w).timeout(r)
}

// ReadJSON reads a body of JSON into v, and refuses members that v does not have. An empty body
// leaves v as it is.
func ReadJSON(w http.ResponseWriter, r *http.Request, v any) error { return apiOf(w).jsonBody(w, r, v) }

// ReadNothing reads the body of a request that has no use for one.
func ReadNothing(w http.ResponseWriter, r *http.Request) error { return apiOf(w).ignoreBody(w, r) }

// Accepted returns the media type among offers that the client prefers, or not_acceptable.
func Accepted(r *http.Request, offers ...string) (string, error) {
	kind := accepted(r.Header.Values("Accept"), offers...)
	if kind == "" {
		return "", core.Errorf(core.CodeNotAcceptable, "this can be served as %v", offers)
	}
	return kind, nil
}

// ReadStream returns the body of a request that may be long, at most limit bytes of it. Each
// piece has Limits.IOTimeout to arrive, all of it until ctx ends. It is for the request's
// goroutine only. Its errors are those of the catalogue.
func ReadStream(ctx context.Context, w http.ResponseWriter, r *http.Request, limit int64) io.Reader {
	by, _ := ctx.Deadline()
	return &longBody{rec: w.(*recorder), limit: limit, body: http.MaxBytesReader(w, r.Body, limit), length: r.ContentLength, by: by}
}

// longBody is a body that is read piece by piece.
type longBody struct {
	rec    *recorder
	body   io.Reader
	length int64 // that was announced, -1 if none was
	limit  int64
	by     time.Time // when all of it has to be there
}

func (b *longBody) Read(p []byte) (int, error) {
	if b.length > b.limit {
		return 0, bodyTooLarge(b.limit)
	}
	now := time.Now()
	by := now.Add(b.rec.ioTimeout)
	if !b.by.IsZero() && b.by.Before(by) {
		by = b.by
	}
	if !now.Before(by) {
		return 0, core.Errorf(core.CodeTimeout, "the body did not arrive in time")
	}
	b.rec.readBy(by)
	n, err := b.body.Read(p)
	if errors.Is(err, io.EOF) {
		b.rec.bodyRead()
		return n, io.EOF
	}
	if err != nil {
		err = b.rec.api.bodyRead(b.rec, err)
	}
	return n, err
}

// HeartbeatOf is how long an answer may be without a sign of life.
func HeartbeatOf(w http.ResponseWriter) time.Duration { return apiOf(w).config.Limits.Heartbeat }

// LineStream answers with lines of JSON, until the client or the node goes, or next has an error:
// io.EOF, or another, which is sent as {"error":…}. next waits up to wait for something to send,
// and returns it with the end of the line.
func LineStream(w http.ResponseWriter, r *http.Request, next func(ctx context.Context, wait time.Duration) ([]byte, error)) error {
	a := apiOf(w)
	ctx, cancel := a.untilClose(r.Context())
	defer cancel()
	setStream(w.Header(), typeNDJSON)
	w.WriteHeader(http.StatusOK)
	for {
		text, err := next(ctx, a.config.Limits.Heartbeat)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			if ctx.Err() != nil && r.Context().Err() == nil {
				err = core.Errorf(core.CodeShuttingDown, "the node shuts down")
			}
			requests.LogInternal(a.config.Logger, err)
			line, encodeErr := wire.Marshal(struct {
				Error *wire.Error `json:"error"`
			}{wire.NewError(err)})
			if encodeErr != nil {
				return encodeErr
			}
			return a.sendText(w, append(line, '\n'))
		}
		if err := a.sendText(w, text); err != nil {
			return err
		}
	}
}

// EventStream answers with server-sent events, until the client or the node goes, or next has an
// error: io.EOF, or another, which is sent as the end. next waits up to wait for something to send,
// and returns it encoded; nothing is sent as a sign of life.
func EventStream(w http.ResponseWriter, r *http.Request, next func(ctx context.Context, wait time.Duration) ([]byte, error)) error {
	a := apiOf(w)
	ctx, cancel := a.untilClose(r.Context())
	defer cancel()
	setEventStream(w.Header())
	w.WriteHeader(http.StatusOK)
	text := []byte(eventStreamRetry)
	for {
		if err := a.sendText(w, text); err != nil {
			return err
		}
		var err error
		switch text, err = next(ctx, a.config.Limits.Heartbeat); {
		case ctx.Err() != nil:
			return a.sendEnded(ctx, w)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			requests.LogInternal(a.config.Logger, err)
			return a.sendText(w, appendEnd(nil, err))
		case len(text) == 0:
			text = []byte(":\n\n")
		}
	}
}

// copyPiece is how much of a long body is read and written at a time.
const copyPiece = 256 << 10

// CopyStream writes a body that may be long. Each piece has Limits.IOTimeout to be taken.
func CopyStream(w http.ResponseWriter, from io.Reader) error {
	piece := make([]byte, copyPiece)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			apiOf(w).writeWithin(w)
			if _, err := w.Write(piece[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
