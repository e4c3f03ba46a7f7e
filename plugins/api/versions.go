package api

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/wsapi"
)

const (
	typeJSON      = "application/json"
	typeWasm      = "application/wasm"
	typeMultipart = "multipart/form-data"

	defaultLimit = 100
	// multipartBytes is what a body of two parts may have beside module and manifest.
	multipartBytes = 8 << 10
)

// listBody is the body of GET /v1/plugins.
type listBody struct {
	Plugins []plugins.Listed `json:"plugins"`
	Cursor  string           `json:"cursor,omitempty"` // of the next page
	End     bool             `json:"end"`
}

// list is GET /v1/plugins: plugins and bindings by name.
func (a *api) list(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	asked, err := listRequest(r.URL.Query())
	if err != nil {
		return err
	}
	versions, err := a.Registry.List(ctx, asked)
	if err != nil {
		return err
	}
	bindings, err := a.Bindings.List(ctx, asked)
	if err != nil {
		return err
	}
	list := merge(versions.Versions, bindings.Bindings)
	body := listBody{Plugins: list, End: versions.End && bindings.End}
	// Behind the last of a page that has more, the other list may have names in between.
	if n := len(versions.Versions); !versions.End && n > 0 {
		body.Plugins = until(body.Plugins, versions.Versions[n-1].Plugin)
	}
	if n := len(bindings.Bindings); !bindings.End && n > 0 {
		body.Plugins = until(body.Plugins, bindings.Bindings[n-1].Name)
	}
	if len(body.Plugins) > asked.Limit {
		body.Plugins, body.End = body.Plugins[:asked.Limit], false
	}
	if n := len(body.Plugins); n > 0 && !body.End {
		body.Cursor = wsapi.ListCursor(body.Plugins[n-1].Name)
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusOK, body)
}

func listRequest(q url.Values) (plugins.ListRequest, error) {
	list, err := wsapi.ParseList(q)
	return plugins.ListRequest{Prefix: list.Prefix, After: list.After, Limit: cmp.Or(list.Limit, defaultLimit)}, err
}

// merge joins plugins and bindings of the same name. Both are in the order of names.
func merge(versions []plugins.Version, bindings []plugins.Status) []plugins.Listed {
	list := make([]plugins.Listed, 0, len(versions)+len(bindings))
	for i := range versions {
		v := &versions[i]
		list = append(list, plugins.Listed{Name: v.Plugin, Version: v.Version, Kind: v.Manifest.Kind, Description: v.Manifest.Description})
	}
	for i := range bindings {
		at, found := slices.BinarySearchFunc(list, bindings[i].Name, func(l plugins.Listed, name string) int { return strings.Compare(l.Name, name) })
		if !found {
			list = slices.Insert(list, at, plugins.Listed{Name: bindings[i].Name})
		}
		list[at].Binding = &bindings[i]
	}
	return list
}

// until returns the part of list up to a name.
func until(list []plugins.Listed, last string) []plugins.Listed {
	n, _ := slices.BinarySearchFunc(list, last+"\x00", func(l plugins.Listed, name string) int { return strings.Compare(l.Name, name) })
	return list[:n]
}

// describeABI is GET /v1/plugins/abi.
func describeABI(w http.ResponseWriter, _ *http.Request) error {
	return wsapi.WriteJSON(w, http.StatusOK, plugins.ABI{
		ABIs: []string{abi.Module, abi.Stdio}, Kinds: plugins.Kinds(),
		Imports: wasm.Imports(abi.Handle), JudgeImports: judgeImports(), CommandImports: wasm.Imports(abi.Main), Exports: exports(),
		Limits: plugins.MaxLimits(), Defaults: plugins.DefaultLimits(), MaxModuleBytes: plugins.MaxModuleBytes,
	})
}

// judgeImports are those of abi.JudgeImports, as module.name.
func judgeImports() (names []string) {
	for _, name := range abi.JudgeImports() {
		names = append(names, abi.Module+"."+name)
	}
	return names
}

// exports are the names of what a module may or has to export.
func exports() []string {
	names := []string{abi.Memory, abi.Start, abi.Init, abi.Marker, abi.Query, abi.Main}
	for _, k := range plugins.Kinds() {
		if !slices.Contains(names, k.Entry()) {
			names = append(names, k.Entry())
		}
	}
	return names
}

// versionsBody is the body of GET /v1/plugins/{plugin}/versions.
type versionsBody struct {
	Versions []plugins.Version `json:"versions"`
	Cursor   string            `json:"cursor,omitempty"` // of the next page
	End      bool              `json:"end"`
}

// versions is GET /v1/plugins/{plugin}/versions.
func (a *api) versions(w http.ResponseWriter, r *http.Request) error {
	asked, err := listRequest(r.URL.Query())
	if err != nil {
		return err
	}
	return give(w, r, func(ctx context.Context) (versionsBody, error) {
		page, err := a.Registry.Versions(ctx, r.PathValue("plugin"), asked)
		body := versionsBody{Versions: append([]plugins.Version{}, page.Versions...), End: page.End}
		if n := len(page.Versions); n > 0 && !page.End {
			body.Cursor = wsapi.ListCursor(page.Versions[n-1].Version)
		}
		return body, err
	})
}

// version is GET /v1/plugins/{plugin}/versions/{version}.
func (a *api) version(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	v, err := a.Registry.Version(ctx, r.PathValue("plugin"), r.PathValue("version"))
	if err != nil {
		return err
	}
	return wsapi.WriteJSON(w, http.StatusOK, v)
}

// deleteVersion is DELETE /v1/plugins/{plugin}/versions/{version}.
func (a *api) deleteVersion(w http.ResponseWriter, r *http.Request) error {
	return done(w, r, func(ctx context.Context) error {
		return a.Registry.Delete(ctx, r.PathValue("plugin"), r.PathValue("version"))
	})
}

// module is GET /v1/plugins/{plugin}/versions/{version}/module: the bytes that were uploaded.
func (a *api) module(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	v, err := a.Registry.Version(ctx, r.PathValue("plugin"), r.PathValue("version"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", `"`+v.SHA256+`"`)
	h.Set("Content-Type", typeWasm)
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Length", strconv.FormatInt(v.Bytes, 10))
	if r.Method == http.MethodHead {
		return nil
	}
	module, err := a.Registry.Module(ctx, &v)
	if err != nil {
		h.Del("Content-Length")
		return err
	}
	defer module.Close()
	return wsapi.CopyStream(w, module)
}

// upload is PUT /v1/plugins/{plugin}/versions/{version}: a module with its manifest in it, or
// a body of two parts, manifest and module, in this order.
func (a *api) upload(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	module, manifest, err := parts(ctx, w, r)
	if err != nil {
		return err
	}
	v, created, err := a.Registry.Upload(ctx, registry.Upload{
		Plugin: r.PathValue("plugin"), Version: r.PathValue("version"), Module: module, Manifest: manifest,
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", r.URL.EscapedPath())
	}
	return wsapi.WriteJSON(w, status, v)
}

// parts returns the module of an upload, to be read once, and the manifest; nil if it is in the
// module.
func parts(ctx context.Context, w http.ResponseWriter, r *http.Request) (module io.Reader, manifest []byte, err error) {
	const most = plugins.MaxModuleBytes
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == typeWasm:
		return wsapi.ReadStream(ctx, w, r, most), nil, nil
	case err != nil || kind != typeMultipart || params["boundary"] == "":
		return nil, nil, core.Errorf(core.CodeUnsupportedMediaType, "an upload is %s, or %s with the parts manifest and module", typeWasm, typeMultipart)
	}
	body := multipart.NewReader(wsapi.ReadStream(ctx, w, r, most+abi.MaxManifestBytes+multipartBytes), params["boundary"])
	part, err := nextPart(body, "manifest")
	if err != nil {
		return nil, nil, err
	}
	manifest, err = io.ReadAll(io.LimitReader(part, abi.MaxManifestBytes+1))
	if err != nil {
		return nil, nil, readError(err)
	}
	if len(manifest) > abi.MaxManifestBytes {
		return nil, nil, core.Errorf(core.CodeInvalidManifest, "the manifest has more than %d bytes", abi.MaxManifestBytes)
	}
	module, err = nextPart(body, "module")
	return module, bytes.TrimSpace(manifest), err
}

// nextPart returns the next part of a body, which has to have a name.
func nextPart(body *multipart.Reader, name string) (*multipart.Part, error) {
	part, err := body.NextPart()
	if err != nil {
		return nil, readError(err)
	}
	if part.FormName() != name {
		return nil, core.Errorf(core.CodeInvalidRequest, "the part %q is missing: an upload has the parts manifest and module, in this order", name)
	}
	return part, nil
}

// readError is the error of a body that cannot be read.
func readError(err error) error {
	if e := core.AsError(err); e.Code != core.CodeInternal {
		return e
	}
	return core.Errorf(core.CodeInvalidRequest, "the parts of the body cannot be read: %w", err)
}
