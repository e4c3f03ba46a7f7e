package runtime

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// backups has the API serve the files of a log on disk.
func (n *Node) backups() wsapi.Extension {
	x := wsapi.Extension{Routes: []wsapi.Route{
		{Method: "GET", Path: "/v1/backup", Needs: access.Backup, Audit: "BackupBegun", Handle: n.serveBackup},
		{Method: "GET", Path: "/v1/backup/file", Needs: access.Backup, Query: []string{"name", "version", "bytes", "from", "sum"}, Handle: n.serveBackupFile},
	}}
	if n.config.Engine == EngineDisk {
		x.Feature = "backup"
	}
	return x
}

// serveBackup is GET /v1/backup: the files of the log as it is now.
func (n *Node) serveBackup(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	b, err := n.store.Backup(ctx)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusOK, b)
}

// serveBackupFile is GET /v1/backup/file: the content of a file from a byte on.
func (n *Node) serveBackupFile(w http.ResponseWriter, r *http.Request) error {
	q := queryNumbers{query: r.URL.Query()}
	file := core.BackupFile{Name: q.query.Get("name"), Version: q.query.Get("version"), Bytes: int64(q.get("bytes", 63))}
	from, sum := int64(q.get("from", 63)), uint32(q.get("sum", 32))
	if q.err != nil {
		return q.err
	}
	content, err := n.store.BackupFile(r.Context(), file, from, sum)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(file.Bytes-from, 10))
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.CopyStream(w, content)
}

// queryNumbers reads the numbers of a query; err is that of the first which is none.
type queryNumbers struct {
	query url.Values
	err   error
}

// get returns the number of a name, of at most so many bits; 0 if it is not there.
func (n *queryNumbers) get(name string, bits int) uint64 {
	text := n.query.Get(name)
	if text == "" {
		return 0
	}
	v, err := strconv.ParseUint(text, 10, bits)
	if err != nil && n.err == nil {
		n.err = core.Errorf(core.CodeInvalidRequest, "%s=%s is not a number of %d bits", name, core.Clip(text), bits)
	}
	return v
}
