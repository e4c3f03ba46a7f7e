package wsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// routeOps returns the WebSocket ops that routes are, too.
func (a *API) routeOps(routes []Route) (ops []Op) {
	for _, r := range routes {
		if r.Op != "" {
			ops = append(ops, Op{Name: r.Op, Needs: r.Needs, Do: func(ctx context.Context, message []byte) (any, error) {
				return a.doRoute(ctx, &r, message)
			}})
		}
	}
	return ops
}

// doRoute makes the request that a message stands for, and returns the object that it is
// answered with. In a ring it goes to the owner, as the request would.
func (a *API) doRoute(ctx context.Context, route *Route, message []byte) (any, error) {
	r, err := routeRequest(ctx, route, message)
	if err != nil {
		return nil, err
	}
	text, err := a.kept(r, route.Handle)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	return text, nil
}

// kept has a handler answer a request, and returns the body.
func (a *API) kept(r *http.Request, handle handler) (json.RawMessage, error) {
	answer := &answer{header: http.Header{}}
	rec := newRecorder(answer, r, a.memory.Account(), a.config.Limits.IOTimeout)
	rec.api = a
	defer rec.memory.Release()
	if err := handle(rec, r); err != nil {
		return nil, err
	}
	if rec.status() >= http.StatusMultipleChoices { // of another node
		var e wire.Error
		if wire.Unmarshal(answer.body.Bytes(), &e) != nil || !e.Code.Known() {
			return nil, core.Errorf(core.CodeInternal, "another node answered with status %d", rec.status())
		}
		return nil, e.Err()
	}
	return json.RawMessage(answer.body.Bytes()), nil
}

// answer is a response that is kept.
type answer struct {
	header http.Header
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
func (*answer) WriteHeader(int)               {}

// routeRequest makes the request of a message: the wildcards of the path and the parameters of
// the query are fields of it, and what is left is the body.
func routeRequest(ctx context.Context, route *Route, message []byte) (*http.Request, error) {
	var fields map[string]json.RawMessage
	if err := wire.Unmarshal(message, &fields); err != nil {
		return nil, err
	}
	for _, name := range []string{"op", "id", "timeoutMs"} {
		delete(fields, name)
	}
	path, query, values := "", url.Values{}, map[string]string{}
	for part := range strings.SplitSeq(strings.TrimPrefix(route.Path, "/"), "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			value, err := textField(fields, name)
			if err != nil {
				return nil, err
			}
			if value == "" {
				return nil, core.Errorf(core.CodeInvalidRequest, "%s is missing", name)
			}
			values[name], part = value, url.PathEscape(value)
		}
		path += "/" + part
	}
	for _, name := range route.Query {
		values, err := textFields(fields, name)
		if err != nil {
			return nil, err
		}
		if len(values) > 0 {
			query[name] = values
		}
	}
	body, err := bodyOf(route, fields)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, route.Method, (&url.URL{Path: "/", RawQuery: query.Encode()}).String(), body)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
	}
	if r.URL.Path, err = url.PathUnescape(path); err != nil {
		return nil, core.Errorf(core.CodeInvalidRequest, "not a path: %w", err)
	}
	r.URL.RawPath = path
	r.Header.Set("Content-Type", typeJSON)
	for name, value := range values {
		r.SetPathValue(name, value)
	}
	return r, nil
}

// textFields takes a field from a message, as a parameter of a query. One that may be given more
// than once is a list.
func textFields(fields map[string]json.RawMessage, name string) ([]string, error) {
	var values []string
	if slices.Contains(lists, name) && json.Unmarshal(fields[name], &values) == nil && values != nil {
		if len(values) == 0 {
			return nil, core.Errorf(core.CodeInvalidRequest, "%s is an empty list; leave it out, or name some", name)
		}
		delete(fields, name)
		return values, nil
	}
	value, err := textField(fields, name)
	if err != nil || value == "" {
		return nil, err
	}
	return []string{value}, nil
}

// textField takes a field from a message, as a parameter of a path or a query.
func textField(fields map[string]json.RawMessage, name string) (string, error) {
	raw, ok := fields[name]
	if !ok {
		return "", nil
	}
	delete(fields, name)
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", core.Errorf(core.CodeInvalidRequest, "%s cannot be read: %w", name, err)
	}
	switch v.(type) {
	case string, json.Number, bool:
		return fmt.Sprint(v), nil
	}
	return "", core.Errorf(core.CodeInvalidRequest, "%s is a text, a number or a truth value", name)
}

// bodyOf returns the body of a request of a route with the fields that are left.
func bodyOf(route *Route, fields map[string]json.RawMessage) (io.Reader, error) {
	if !slices.Contains([]string{http.MethodPost, http.MethodPut}, route.Method) || len(fields) == 0 {
		return http.NoBody, nil
	}
	text, err := wire.Marshal(fields)
	return bytes.NewReader(text), err
}
