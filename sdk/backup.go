package sdk

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

var _ core.BackupSource = (*Client)(nil)

const (
	// maxBackupList bounds the list of a log's files.
	maxBackupList = 64 << 20
	// backupStall is how long a file may bring nothing.
	backupStall = time.Minute
)

// Backup lists the files of the log on the disk of the node that the client is connected to. Package
// core/disk writes a backup of them. The error is not_supported if its log is not on disk, and
// forbidden unless the key is an admin's: a backup has everything.
func (c *Client) Backup(ctx context.Context) (b core.Backup, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var text []byte
	r := httpRequest{method: http.MethodGet, path: "/v1/backup", take: func(from io.Reader) (err error) {
		text, err = io.ReadAll(io.LimitReader(from, maxBackupList))
		return err
	}}
	if _, err = c.try(ctx, []address{c.here()}, &r); err != nil {
		return b, err
	}
	if err = wire.Unmarshal(text, &b); err != nil {
		err = core.Errorf(core.CodeProtocolError, "the answer cannot be understood: %w", err)
	}
	return b, err
}

// BackupFile returns the content of a file of a Backup from byte from on. sum is the CRC32C of what
// is before it. The errors are those of core.BackupSource, and unavailable if nothing comes for a
// minute.
func (c *Client) BackupFile(ctx context.Context, f core.BackupFile, from int64, sum uint32) (io.ReadCloser, error) {
	query := queryOf("name", f.Name, "version", f.Version)
	query.Set("bytes", strconv.FormatInt(f.Bytes, 10))
	query.Set("from", strconv.FormatInt(from, 10))
	query.Set("sum", strconv.FormatUint(uint64(sum), 10))
	r := httpRequest{method: http.MethodGet, path: "/v1/backup/file?" + query.Encode()}
	at := c.here()
	ctx, cancel := context.WithCancelCause(ctx)
	stalled := core.Errorf(core.CodeUnavailable, "%s has sent nothing of %s for %s", at.http, f.Name, backupStall)
	content := &backupContent{ctx: ctx, cancel: cancel, stall: time.AfterFunc(backupStall, func() { cancel(stalled) })}
	answer, _, err := c.send(ctx, at, &r)
	content.stall.Stop()
	if err == nil && answer.StatusCode >= http.StatusMultipleChoices {
		err = refusal(at.http, answer)
		_ = answer.Body.Close()
	}
	if err != nil {
		cancel(nil)
		return nil, err
	}
	content.body = answer.Body
	return content, nil
}

// backupContent is a body that is given up when nothing comes.
type backupContent struct {
	body   io.ReadCloser
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	stall  *time.Timer // runs while bytes are awaited
}

func (b *backupContent) Read(p []byte) (int, error) {
	b.stall.Reset(backupStall)
	n, err := b.body.Read(p)
	b.stall.Stop()
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case b.ctx.Err() != nil:
		return n, context.Cause(b.ctx)
	}
	return n, core.Errorf(core.CodeUnavailable, "the answer broke off: %w", err)
}

func (b *backupContent) Close() error {
	b.stall.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
