package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

// backupEvents are those of the log that is backed up.
const backupEvents = 1_000_000

// benchBackup measures a backup of a node through its API against a copy of the same files, and
// appends beside backups against appends alone.
func benchBackup(b *bench) error {
	data := filepath.Join(b.dir, "backed-up")
	node, err := runtime.Start(b.ctx, runtime.Config{Listen: "127.0.0.1:0", Data: data})
	if err != nil {
		return err
	}
	defer func() { _ = node.Close(context.Background()) }()
	clients, err := dialMany(b.ctx, node.URL(), 3)
	defer closeAll(clients)
	if err != nil {
		return err
	}
	load := &load{log: node.Store(), perCommit: 1024, appenders: 4}
	if _, err := load.run(b.ctx, b.n(backupEvents), window); err != nil {
		return err
	}
	b.progress("streams/backup: %d events", node.Store().State().Head)
	if err := benchBackupCopy(b, clients[0], data); err != nil {
		return err
	}
	return benchBackupBeside(b, clients)
}

// benchBackupCopy measures the backup.
func benchBackupCopy(b *bench, client *sdk.Client, data string) error {
	to := filepath.Join(b.dir, "backup")
	p, err := pair(rounds,
		func() (sample, error) {
			begin := time.Now()
			result, err := disk.Backup(b.ctx, client, disk.BackupConfig{Dir: to})
			return rate(int(result.Bytes>>20), begin), removeAfter(to, err)
		},
		func() (sample, error) {
			list, err := client.Backup(b.ctx)
			if err != nil {
				return sample{}, err
			}
			begin := time.Now()
			bytes, err := copyFiles(&list, data, to)
			return rate(int(bytes>>20), begin), removeAfter(to, err)
		})
	if err != nil {
		return err
	}
	p.note = "floor: a copy of the same files, each synced"
	b.add(p.result("streams/backup", "MiB/s", atLeast(ofRatio, 0.5)))
	return nil
}

// removeAfter removes a folder for the next round, whatever err is.
func removeAfter(dir string, err error) error {
	if removeErr := os.RemoveAll(dir); err == nil {
		err = removeErr
	}
	return err
}

func copyFiles(list *core.Backup, data, to string) (bytes int64, err error) {
	if err := os.Mkdir(to, 0o700); err != nil {
		return 0, err
	}
	for i := range list.Files {
		f := &list.Files[i]
		if err := copyFile(filepath.Join(data, f.Name), filepath.Join(to, filepath.Base(f.Name)), f.Bytes); err != nil {
			return bytes, err
		}
		bytes += f.Bytes
	}
	return bytes, nil
}

func copyFile(from, to string, bytes int64) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyN(target, source, bytes)
	if err == nil {
		err = target.Sync()
	}
	if closeErr := target.Close(); err == nil {
		err = closeErr
	}
	return err
}

// benchBackupBeside measures the latency of appends while backups run.
func benchBackupBeside(b *bench, clients []*sdk.Client) error {
	to := filepath.Join(b.dir, "backup")
	latency := func() (sample, error) {
		got, err := latencyRun(b.ctx, clients[0], clients[1], 1000)
		if err != nil {
			return sample{}, err
		}
		return sample{value: inMillis(quantile(got, 0.99)), ops: len(got)}, nil
	}
	p, err := pair(rounds,
		func() (sample, error) {
			ctx, cancel := context.WithCancel(b.ctx)
			defer cancel()
			done := make(chan error, 1)
			go func() {
				var err error
				for ctx.Err() == nil && err == nil {
					_, err = disk.Backup(ctx, clients[2], disk.BackupConfig{Dir: to, BytesPerSecond: 50 << 20})
					err = removeAfter(to, err)
				}
				done <- err
			}()
			s, err := latency()
			cancel()
			if backupErr := <-done; err == nil && !errors.Is(backupErr, core.CodeCanceled) {
				err = backupErr
			}
			return s, err
		}, latency)
	if err != nil {
		return err
	}
	p.note = fmt.Sprintf("1,000 appends a second beside a backup at 50 MiB/s; p99 until a follower has the event; log of %d MiB", backupEvents*eventBytes>>20)
	b.add(p.result("streams/backup/beside", "ms", atMost(ofRatio, 2)))
	return os.RemoveAll(to)
}
