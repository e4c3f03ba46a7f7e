package sdk

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxAnswer bounds what is read of an HTTP answer.
const maxAnswer = 16 << 20

// ServerInfo describes a node.
type ServerInfo struct {
	Version  string      `json:"version"`
	Node     string      `json:"node"`
	Log      string      `json:"log"`
	Head     uint64      `json:"head"`
	Bytes    int64       `json:"bytes"`
	ReadOnly *wire.Error `json:"readOnly"`
	Features []string    `json:"features"`
}

// Server returns the node's description.
func (c *Client) Server(ctx context.Context) (ServerInfo, error) {
	var info ServerInfo
	return info, c.get(ctx, "/v1/server", nil, &info)
}

// Event returns the event with an id, or event_not_found.
func (c *Client) Event(ctx context.Context, id core.ID) (core.Event, error) {
	var r wire.Recorded
	if err := c.get(ctx, "/v1/events/"+id.String(), nil, &r); err != nil {
		return core.Event{}, err
	}
	return r.CoreEvent()
}

// Streams lists streams in the byte order of their names.
func (c *Client) Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	query := url.Values{}
	if r.Prefix != "" {
		query.Set("prefix", r.Prefix)
	}
	if r.After != "" {
		query.Set("cursor", base64.RawURLEncoding.EncodeToString([]byte(r.After)))
	}
	setLimit(query, r.Limit)
	var body struct {
		Streams []struct {
			Name    string `json:"name"`
			Version uint64 `json:"version"`
		} `json:"streams"`
		End bool `json:"end"`
	}
	if err := c.get(ctx, "/v1/streams", query, &body); err != nil {
		return core.StreamsPage{}, err
	}
	page := core.StreamsPage{End: body.End}
	for _, s := range body.Streams {
		page.Streams = append(page.Streams, core.StreamInfo{Name: s.Name, Version: s.Version})
	}
	return page, nil
}

// get makes a GET request over HTTP.
func (c *Client) get(ctx context.Context, path string, query url.Values, to any) error {
	_, err := c.do(ctx, http.MethodGet, path, query, nil, to)
	return err
}

// do makes a request over HTTP. body and to are JSON, nil for none; status is one of success.
// If a request that changes something was sent and not answered, the error is
// unknown_outcome.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, to any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		text, err := wire.Marshal(body)
		if err != nil {
			return 0, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
		}
		content = bytes.NewReader(text)
	}
	where := c.address.http + path
	if len(query) > 0 {
		where += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, where, content)
	if err != nil {
		return 0, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	var sent atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}))
	answer, err := c.http.Do(r)
	if err != nil {
		lost := core.Errorf(core.CodeUnavailable, "%s cannot be reached: %w", c.address.http, err)
		if ctx.Err() != nil {
			lost = core.AsError(ctx.Err())
		}
		if sent.Load() && method != http.MethodGet {
			lost = core.Errorf(core.CodeUnknownOutcome, "the request was not answered: %w", lost)
		}
		return 0, lost
	}
	defer answer.Body.Close()
	return answer.StatusCode, c.take(answer, to)
}

// take decodes an answer.
func (c *Client) take(answer *http.Response, to any) error {
	if answer.StatusCode >= http.StatusMultipleChoices {
		if problem := problemOf(answer); problem != nil {
			return problem
		}
		return core.Errorf(core.CodeUnavailable, "%s answered %s", c.address.http, answer.Status)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return core.Errorf(core.CodeUnavailable, "the answer broke off: %w", err)
	}
	if to == nil {
		return nil
	}
	if err := wire.Unmarshal(body, to); err != nil {
		return core.Errorf(core.CodeProtocolError, "the answer cannot be understood: %w", err)
	}
	return nil
}

// problemOf returns the error of the catalogue in an answer; nil if there is none.
func problemOf(answer *http.Response) *core.Error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	var e wire.Error
	if err != nil || wire.Unmarshal(body, &e) != nil || !e.Code.Known() {
		return nil
	}
	return e.Err()
}
