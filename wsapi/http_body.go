package wsapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/cloudevents"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// maxBody bounds the body of a request: a Commit of 4 MiB with room for names
	// and base64.
	maxBody = 6 << 20
	// maxIgnoredBody bounds the body of a request that has no use for one.
	maxIgnoredBody = 64 << 10
	// bodyTimeout is how many times Limits.IOTimeout a body may take to arrive, counted
	// from the request's headers.
	bodyTimeout = 3

	typeJSON        = "application/json"
	typeNDJSON      = "application/x-ndjson"
	typeEventStream = "text/event-stream"
	typeProblem     = "application/problem+json"
	typeCloudEvent  = "application/cloudevents+json"
	typeCloudBatch  = "application/cloudevents-batch+json"
	// binaryCloudEvent is no media type: the attributes are headers, and the body
	// is of any type.
	binaryCloudEvent = "a CloudEvent in binary mode"
)

// readBody reads a body and reports its kind.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) (body []byte, kind string, err error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, "", core.Errorf(core.CodeUnsupportedMediaType, "content encoding %q is not supported", core.Clip(encoding))
	}
	if kind, err = bodyKind(r.Header); err != nil {
		return nil, "", err
	}
	if r.ContentLength > maxBody {
		return nil, "", bodyTooLarge(maxBody)
	}
	body, err = a.bodyBytes(w, r)
	return body, kind, a.bodyRead(w, err)
}

// bodyBytes reads a body. Events point into it for as long as they wait to be written, so
// it is not reused. Memory of the request is taken as the body comes: a client that sends
// nothing takes none.
func (a *API) bodyBytes(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	memory, limit := memoryOf(w), maxBody
	if r.ContentLength >= 0 {
		limit = int(r.ContentLength)
	}
	if limit <= requests.Allowance {
		memory.Add(limit)
		body := make([]byte, limit)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	grow := func(n int) error {
		ctx, cancel := context.WithTimeout(r.Context(), a.config.Limits.IOTimeout)
		defer cancel()
		return memory.Wait(ctx, n)
	}
	b, err := requests.Read(http.MaxBytesReader(w, r.Body, maxBody), limit, grow)
	if err != nil {
		return nil, err
	}
	return b.Keep(), nil
}

// ignoreBody reads the body of a request that has no use for one. Only then may the
// request last longer than its body's deadline.
func (a *API) ignoreBody(w http.ResponseWriter, r *http.Request) error {
	switch {
	case r.ContentLength == 0:
		return nil
	case r.ContentLength > maxIgnoredBody:
		return bodyTooLarge(maxIgnoredBody)
	}
	_, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxIgnoredBody))
	return a.bodyRead(w, err)
}

// bodyRead clears the deadline of a body that was read to its end; otherwise it returns
// the request's error. After an error the deadline stays, for the rest of the body.
func (a *API) bodyRead(w http.ResponseWriter, err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		w.(*recorder).bodyRead()
		return nil
	case errors.As(err, &tooLarge):
		return bodyTooLarge(tooLarge.Limit)
	case errors.Is(err, core.CodeOverloaded):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return core.Errorf(core.CodeTimeout, "the body did not arrive within %s", bodyTimeout*a.config.Limits.IOTimeout)
	}
	return core.Errorf(core.CodeInvalidRequest, "the body cannot be read: %w", err)
}

func bodyTooLarge(limit int64) error {
	e := core.Errorf(core.CodeBodyTooLarge, "the body is larger than %d bytes", limit)
	e.Limit = limit
	return e
}

// bodyKind is one of the media types, or binaryCloudEvent.
func bodyKind(h http.Header) (string, error) {
	contentType := h.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(contentType)
	charset, ok := params["charset"]
	isText := err == nil && (!ok || strings.EqualFold(charset, "utf-8"))
	switch {
	case isText && (kind == typeCloudEvent || kind == typeCloudBatch):
		return kind, nil
	case cloudevents.IsBinary(h) && !strings.HasPrefix(kind, "application/cloudevents"):
		return binaryCloudEvent, nil
	case contentType == "" || isText && kind == typeJSON:
		return typeJSON, nil
	case isText && (kind == typeNDJSON || kind == "application/ndjson" || kind == "application/jsonl"):
		return typeNDJSON, nil
	}
	return "", core.Errorf(core.CodeUnsupportedMediaType, "content type %q is not supported", core.Clip(contentType))
}

// jsonBody reads a body into v. An empty one leaves v as it is.
func (a *API) jsonBody(w http.ResponseWriter, r *http.Request, v any) error {
	return a.decodeBody(w, r, v, wire.UnmarshalStrict)
}

// decodeBody is jsonBody by a decoder of package wire.
func (a *API) decodeBody(w http.ResponseWriter, r *http.Request, v any, decode func([]byte, any) error) error {
	if r.ContentLength == 0 {
		return nil
	}
	body, kind, err := a.readBody(w, r)
	if err != nil {
		return err
	}
	if kind != typeJSON {
		return core.Errorf(core.CodeUnsupportedMediaType, "the body is application/json")
	}
	return decode(body, v)
}
