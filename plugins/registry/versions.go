package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

const versionsTable = "plugin_versions"

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	return key
}

// separator is below all characters of names, so that keys are in the order of the names of
// plugins; behind is the next character.
const (
	separator = " "
	behind    = "!"
)

func versionKey(plugin, version string) string { return plugin + separator + version }

// Version returns a version. The errors are plugin_not_found and version_not_found.
func (r *Registry) Version(ctx context.Context, plugin, version string) (plugins.Version, error) {
	records, err := r.config.Store.Records(ctx, core.RecordsRequest{Table: versionsTable, Keys: []string{versionKey(plugin, version)}, Limit: 1})
	switch {
	case err != nil:
		return plugins.Version{}, err
	case len(records) > 0:
		return decodeVersion(&records[0])
	}
	page, err := r.Versions(ctx, plugin, plugins.ListRequest{Limit: 1})
	if err != nil {
		return plugins.Version{}, err
	}
	return plugins.Version{}, core.Errorf(core.CodeVersionNotFound, "plugin %q has no version %q; one that it has is %s", plugin, version, page.Versions[0].Version)
}

// Versions returns versions of a plugin, in the byte order of their names, or plugin_not_found.
func (r *Registry) Versions(ctx context.Context, plugin string, request plugins.ListRequest) (plugins.VersionPage, error) {
	page, err := r.list(ctx, plugin+separator, request)
	if err == nil && len(page.Versions) == 0 && request.Prefix == "" && request.After == "" {
		err = core.Errorf(core.CodePluginNotFound, "no version of plugin %q was uploaded", plugin)
	}
	return page, err
}

// List returns the newest version of each plugin, in the order of their names.
func (r *Registry) List(ctx context.Context, request plugins.ListRequest) (plugins.VersionPage, error) {
	limit := pageLimit(request.Limit)
	page := plugins.VersionPage{End: true}
	from := ""
	if request.After != "" {
		from = request.After + behind // all of its versions
	}
	for {
		records, err := r.config.Store.Records(ctx, core.RecordsRequest{Table: versionsTable, Prefix: request.Prefix, After: from, Limit: core.MaxReadEvents})
		if err != nil {
			return page, err
		}
		for i := range records {
			v, err := decodeVersion(&records[i])
			if err != nil {
				return page, err
			}
			last := len(page.Versions) - 1
			switch {
			case last < 0 || page.Versions[last].Plugin != v.Plugin:
				if len(page.Versions) == limit {
					page.End = false
					return page, nil
				}
				page.Versions = append(page.Versions, v)
			case v.Uploaded.After(page.Versions[last].Uploaded):
				page.Versions[last] = v
			}
		}
		if len(records) < core.MaxReadEvents {
			return page, nil
		}
		from = records[len(records)-1].Key
	}
}

// list returns a page of the versions whose keys begin with a prefix.
func (r *Registry) list(ctx context.Context, prefix string, request plugins.ListRequest) (plugins.VersionPage, error) {
	limit := pageLimit(request.Limit)
	from := ""
	if request.After != "" {
		from = prefix + request.After
	}
	records, err := r.config.Store.Records(ctx, core.RecordsRequest{Table: versionsTable, Prefix: prefix + request.Prefix, After: from, Limit: limit})
	if err != nil {
		return plugins.VersionPage{}, err
	}
	page := plugins.VersionPage{End: len(records) < limit}
	for i := range records {
		v, err := decodeVersion(&records[i])
		if err != nil {
			return plugins.VersionPage{}, err
		}
		page.Versions = append(page.Versions, v)
	}
	return page, nil
}

func pageLimit(n int) int {
	if n <= 0 || n > core.MaxReadEvents {
		return core.MaxReadEvents
	}
	return n
}

// Module returns the module of a version. The caller reads to io.EOF, and closes it.
func (r *Registry) Module(ctx context.Context, v *plugins.Version) (io.ReadCloser, error) {
	id, err := moduleID(v)
	if err != nil {
		return nil, err
	}
	return r.config.Store.Blob(ctx, id)
}

// Hold returns an operation for the Commit of what uses a version, such as a binding. The Commit is
// refused with record_conflict if the version was deleted meanwhile, and a Delete that has
// not seen it used is refused if this Commit is made.
func (r *Registry) Hold(v *plugins.Version) (core.RecordOp, error) {
	value, err := json.Marshal(v)
	return core.RecordOp{Table: versionsTable, Key: versionKey(v.Plugin, v.Version), Expect: core.Expect(v.Revision), Value: value}, err
}

// Delete deletes a version that no binding and no subscription uses: the error is plugin_in_use,
// plugin_not_found or version_not_found. Its module is swept later, if no other version has it.
func (r *Registry) Delete(ctx context.Context, plugin, version string) error {
	for {
		v, err := r.Version(ctx, plugin, version)
		if err != nil {
			return err
		}
		names, err := r.config.Uses(ctx, plugin, version)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return core.Errorf(core.CodePluginInUse, "version %q of plugin %q runs, can be rolled back to, or is named in %s", version, plugin, nameSome(names))
		}
		_, err = r.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{
			{Table: versionsTable, Key: versionKey(plugin, version), Expect: core.Expect(v.Revision), Action: core.DeleteRecord},
		}})
		if !errors.Is(err, core.CodeRecordConflict) { // else something has come to use it
			return err
		}
	}
}

// nameSome lists the first names, and how many more there are.
func nameSome(names []string) string {
	const most = 5
	text := strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func decodeVersion(record *core.Record) (v plugins.Version, err error) {
	if err = json.Unmarshal(record.Value, &v); err != nil {
		return v, core.Errorf(core.CodeStoreCorrupt, "the record of plugin version %q: %w", record.Key, err)
	}
	v.Revision = record.Revision
	return v, nil
}

// moduleID returns the id of a version's module.
func moduleID(v *plugins.Version) (id [32]byte, err error) {
	if n, err := hex.Decode(id[:], []byte(v.SHA256)); err != nil || n != len(id) || len(v.SHA256) != 2*len(id) {
		return id, core.Errorf(core.CodeStoreCorrupt, "the id of the module of plugin %q, version %q, is %q", v.Plugin, v.Version, v.SHA256)
	}
	return id, nil
}

// sameManifest reports whether two manifests say the same.
func sameManifest(a, b *plugins.Manifest) (bool, error) {
	x, err := canonical(a)
	if err != nil {
		return false, err
	}
	y, err := canonical(b)
	return bytes.Equal(x, y), err
}

// canonical encodes a manifest; the JSON in it without spaces.
func canonical(m *plugins.Manifest) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, text)
	return b.Bytes(), err
}
