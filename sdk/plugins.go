package sdk

import (
	"bytes"
	"context"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// Plugins manages the plugins of a node: versions, bindings, their state and their logs. A
// change that was sent and not answered is unknown_outcome; an upload, a pause, a resume and a
// deploy may be made again. A node without plugins answers not_found.
type Plugins struct{ client *Client }

// Plugins manages the node's plugins.
func (c *Client) Plugins() Plugins { return Plugins{c} }

// Upload is a version to be uploaded.
type Upload struct {
	Plugin, Version string
	Module          []byte
	// Manifest is that of a module that has none of its own. If both are there, they have
	// to say the same.
	Manifest []byte
	// Progress is called with the number of bytes that were sent, as they are; it may be
	// nil. It may begin anew, at another node.
	Progress func(sent int)
}

// uploadTimeout bounds an upload whose context has no deadline.
const uploadTimeout = 5 * time.Minute

// Upload verifies and stores a version. created is false if it was there, with the same
// content. The errors are invalid_module, invalid_manifest, version_exists and body_too_large.
func (p Plugins) Upload(ctx context.Context, u Upload) (v plugins.Version, created bool, err error) {
	r := httpRequest{method: http.MethodPut, path: versionPath(u.Plugin, u.Version), kind: "application/wasm", body: u.Module, sent: u.Progress, to: &v}
	if u.Manifest != nil {
		if r.kind, r.body, err = twoParts(u.Manifest, u.Module); err != nil {
			return v, false, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	status, err := p.client.try(ctx, p.client.nodesNow(), &r)
	return v, status == http.StatusCreated, err
}

// twoParts returns a body of a manifest and a module, and its media type.
func twoParts(manifest, module []byte) (kind string, body []byte, err error) {
	var text bytes.Buffer
	parts := multipart.NewWriter(&text)
	for _, part := range []struct {
		name, kind string
		content    []byte
	}{{"manifest", "application/json", manifest}, {"module", "application/wasm", module}} {
		header := textproto.MIMEHeader{}
		header.Set("Content-Disposition", `form-data; name="`+part.name+`"; filename="`+part.name+`"`)
		header.Set("Content-Type", part.kind)
		w, err := parts.CreatePart(header)
		if err != nil {
			return "", nil, err
		}
		if _, err := w.Write(part.content); err != nil {
			return "", nil, err
		}
	}
	err = parts.Close()
	return parts.FormDataContentType(), text.Bytes(), err
}

// ABI returns what modules the node runs.
func (p Plugins) ABI(ctx context.Context) (a plugins.ABI, err error) {
	err = p.client.get(ctx, "/v1/plugins/abi", nil, &a)
	return a, err
}

// List returns a page of plugins and bindings by name.
func (p Plugins) List(ctx context.Context, r plugins.ListRequest) (page plugins.ListPage, err error) {
	err = p.client.get(ctx, "/v1/plugins", listQuery(r.After, r.Limit, "prefix", r.Prefix), &page)
	return page, err
}

// Version returns a version, plugin_not_found or version_not_found.
func (p Plugins) Version(ctx context.Context, plugin, version string) (v plugins.Version, err error) {
	err = p.client.get(ctx, versionPath(plugin, version), nil, &v)
	return v, err
}

// Versions returns a page of the versions of a plugin, or plugin_not_found.
func (p Plugins) Versions(ctx context.Context, plugin string, r plugins.ListRequest) (page plugins.VersionPage, err error) {
	err = p.client.get(ctx, pluginPath(plugin, "/versions"), listQuery(r.After, r.Limit, "prefix", r.Prefix), &page)
	return page, err
}

// Module returns the module of a version as it was uploaded.
func (p Plugins) Module(ctx context.Context, plugin, version string) ([]byte, error) {
	return p.raw(ctx, versionPath(plugin, version)+"/module", plugins.MaxModuleBytes)
}

// DeleteVersion deletes a version. The error is plugin_in_use if a binding runs it, or can be
// rolled back to it.
func (p Plugins) DeleteVersion(ctx context.Context, plugin, version string) error {
	_, err := p.client.do(ctx, http.MethodDelete, versionPath(plugin, version), nil, nil, nil)
	return err
}

// Deploy creates a binding, or changes one. An error has changed nothing.
func (p Plugins) Deploy(ctx context.Context, binding string, d plugins.Deploy) (plugins.Status, error) {
	return p.order(ctx, binding, "/deploy", d)
}

// Status returns how a binding is, or binding_not_found.
func (p Plugins) Status(ctx context.Context, binding string) (s plugins.Status, err error) {
	err = p.client.get(ctx, pluginPath(binding, ""), nil, &s)
	return s, err
}

// Pause stops a binding at a batch boundary until Resume.
func (p Plugins) Pause(ctx context.Context, binding string) (plugins.Status, error) {
	return p.order(ctx, binding, "/pause", nil)
}

// Resume ends a Pause or a stop.
func (p Plugins) Resume(ctx context.Context, binding string) (plugins.Status, error) {
	return p.order(ctx, binding, "/resume", nil)
}

// Rollback undoes the last change, at a batch boundary: Status.Rollback says what that would be.
// The errors are nothing_before and rebuild_under_way.
func (p Plugins) Rollback(ctx context.Context, binding string, r plugins.Rollback) (plugins.Status, error) {
	return p.order(ctx, binding, "/rollback", r)
}

// Switch makes the generation that a rebuild makes the live one. The errors are no_rebuild and
// rebuild_behind.
func (p Plugins) Switch(ctx context.Context, binding string) (plugins.Status, error) {
	return p.order(ctx, binding, "/switch", nil)
}

// CancelRebuild drops the generation that a rebuild makes, or answers no_rebuild.
func (p Plugins) CancelRebuild(ctx context.Context, binding string) (plugins.Status, error) {
	return p.drop(ctx, binding, "/rebuild")
}

// DropBefore drops the generation that was live before the last switch, or answers nothing_before.
func (p Plugins) DropBefore(ctx context.Context, binding string) (plugins.Status, error) {
	return p.drop(ctx, binding, "/before")
}

func (p Plugins) drop(ctx context.Context, binding, what string) (s plugins.Status, err error) {
	_, err = p.client.do(ctx, http.MethodDelete, pluginPath(binding, what), nil, nil, &s)
	return s, err
}

// Rebuild begins a generation beside the live one: Status.Beside says how far it is. The error is
// rebuild_under_way if there is one.
func (p Plugins) Rebuild(ctx context.Context, binding string, r plugins.Rebuild) (plugins.Status, error) {
	return p.order(ctx, binding, "/rebuild", r)
}

// Delete deletes a binding with its state and its log. Versions and events stay.
func (p Plugins) Delete(ctx context.Context, binding string) error {
	_, err := p.client.do(ctx, http.MethodDelete, pluginPath(binding, ""), nil, nil, nil)
	return err
}

func (p Plugins) order(ctx context.Context, binding, what string, body any) (s plugins.Status, err error) {
	_, err = p.client.do(ctx, http.MethodPost, pluginPath(binding, what), nil, body, &s)
	return s, err
}

// Value returns a key of a binding's state with its value as the handler stored it, or
// state_not_found. With AtLeast it waits until the binding has handled everything up to there, as
// long as ctx or the default timeout lasts: the error is timeout then. To read on from where a value
// is, pass its Position.
func (p Plugins) Value(ctx context.Context, binding string, r plugins.KeyRequest) (plugins.Entry, error) {
	if r.Key == "" || r.Key == "." || r.Key == ".." { // no URL has such a path
		page, err := p.State(ctx, binding, plugins.StateRequest{Lane: r.Lane, Prefix: r.Key, Limit: 1, AtLeast: r.AtLeast})
		if err == nil && (len(page.Entries) == 0 || page.Entries[0].Key != r.Key) {
			err = core.Errorf(core.CodeStateNotFound, "binding %q has no key %q", binding, r.Key)
		}
		if err != nil {
			return plugins.Entry{}, err
		}
		page.Entries[0].Position = page.Position
		return page.Entries[0], nil
	}
	value, position, err := p.ask(ctx, &httpRequest{method: http.MethodGet, path: pluginPath(binding, "/state/") + url.PathEscape(r.Key)}, r.Lane, r.AtLeast)
	return plugins.Entry{Lane: max(r.Lane, 0), Key: r.Key, Value: value, Position: position}, err
}

// Query has a binding answer a query from its state. The errors are no_query if its version answers
// none, plugin_failed and plugin_limit if that fails, and timeout as of Value.
func (p Plugins) Query(ctx context.Context, binding string, q plugins.Query) (plugins.Answer, error) {
	value, position, err := p.ask(ctx, &httpRequest{
		method: http.MethodPost, path: pluginPath(binding, "/query"), kind: "application/octet-stream", body: append([]byte{}, q.Text...), changesNothing: true,
	}, q.Lane, q.AtLeast)
	return plugins.Answer{Value: value, Position: position}, err
}

// ask returns a body as a plugin has made it, and the position that it is at least of.
func (p Plugins) ask(ctx context.Context, r *httpRequest, lane int, atLeast uint64) (value []byte, position uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if query := stateQuery(lane, atLeast); len(query) > 0 {
		r.path += "?" + query.Encode()
	}
	r.take = func(from io.Reader) error {
		value, err = io.ReadAll(io.LimitReader(from, maxAnswer))
		return err
	}
	_, err = retryWhileOverloaded(ctx, p.client, func() (int, error) { return p.client.try(ctx, p.client.nodesNow(), r) })
	if err == nil {
		position, _ = strconv.ParseUint(r.header.Get("Gyre-Position"), 10, 64) // an older node says nothing
	}
	return value, position, err
}

// stateQuery says which state is read.
func stateQuery(lane int, atLeast uint64) url.Values {
	query := url.Values{}
	if lane != plugins.OnlyLane {
		query.Set("lane", strconv.Itoa(lane))
	}
	if atLeast > 0 {
		query.Set("atLeast", strconv.FormatUint(atLeast, 10))
	}
	return query
}

// State returns a page of a lane's state, by key. AtLeast is as of Value.
func (p Plugins) State(ctx context.Context, binding string, r plugins.StateRequest) (page plugins.StatePage, err error) {
	query := stateQuery(r.Lane, r.AtLeast)
	for name, value := range map[string]string{"prefix": r.Prefix, "after": r.After} {
		if value != "" {
			query.Set(name, value)
		}
	}
	setLimit(query, r.Limit)
	err = p.client.get(ctx, pluginPath(binding, "/state"), query, &page)
	return page, err
}

// Logs returns a page of a binding's log. To follow it, ask again with the After that the page
// has as Next, and a Wait of up to 20 seconds.
func (p Plugins) Logs(ctx context.Context, binding string, r plugins.LogsRequest) (page plugins.LogsPage, err error) {
	query := url.Values{}
	for name, n := range map[string]int64{"after": int64(r.After), "last": int64(r.Last), "waitMs": r.Wait.Milliseconds()} {
		if n > 0 {
			query.Set(name, strconv.FormatInt(n, 10))
		}
	}
	setLimit(query, r.Limit)
	err = p.client.get(ctx, pluginPath(binding, "/logs"), query, &page)
	return page, err
}

// raw returns the body of an answer.
func (p Plugins) raw(ctx context.Context, path string, most int64) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	_, err = p.client.try(ctx, p.client.nodesNow(), &httpRequest{method: http.MethodGet, path: path, take: func(from io.Reader) error {
		body, err = io.ReadAll(io.LimitReader(from, most))
		return err
	}})
	return body, err
}

func pluginPath(name, what string) string { return "/v1/plugins/" + url.PathEscape(name) + what }

func versionPath(plugin, version string) string {
	return pluginPath(plugin, "/versions/") + url.PathEscape(version)
}

// counting counts the bytes that are read of a body.
type counting struct {
	*bytes.Reader
	size int
	sent func(int)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.sent(c.size - c.Len())
	return n, err
}
