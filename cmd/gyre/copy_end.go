package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/postgres"
)

// endFlags say which log is an end of a copy.
type endFlags struct {
	where, store string
	tokenFile    string // of a node
	segmentBytes int64  // of a directory
	isThere      bool   // a store that is not there is refused, and not made
}

// wholeLog is a log that is read and written with its links.
type wholeLog interface {
	core.Log
	core.LogReader
}

// logEnd is an end of a copy.
type logEnd struct {
	wholeLog
	blobs core.Blobs // nil: a node, which does not give them out
	name  string     // for people
	// initFlags are those of gyre auth init for it.
	initFlags string
	close     func() error
}

// explain says which end an error is of.
func (l *logEnd) explain(err error) error { return ofEnd(l.name, err) }

func ofEnd(name string, err error) error {
	var coded *core.Error
	if !errors.As(err, &coded) {
		return err
	}
	at := *coded
	at.Detail = name + ": " + coded.Detail
	if better := (*advised)(nil); errors.As(err, &better) {
		return &advised{&at, better.try}
	}
	return &at
}

// openEnd opens the log of an end. The source has to be there; the target is made.
func (a *app) openEnd(ctx context.Context, f endFlags, flag string) (*logEnd, error) {
	isSource := flag == "--from"
	f.isThere = f.isThere || isSource
	switch {
	case postgres.IsURL(f.where):
		return a.openStore(ctx, postgres.Config{
			URL: f.where, Store: f.store, Node: copyID(), Version: version, NoMigrate: f.isThere, OnlyReads: isSource,
		}, flag)
	case f.store != "":
		return nil, usagef("leave %s-store out", flag).because("%s is no PostgreSQL database, and has no stores", flag)
	case strings.Contains(f.where, "://"):
		client, err := a.dialTo(ctx, f.where, f.tokenFile)
		if err != nil {
			return nil, ofEnd(flag, err)
		}
		return &logEnd{client, nil, f.where, " --server " + f.where, client.Close}, nil
	}
	return a.openDirectory(ctx, f)
}

// copyID is the node id of the copies that a machine makes. Of two into one store the newer
// has it alone, so that one that was killed keeps nobody waiting.
func copyID() string {
	host, err := os.Hostname()
	if err != nil {
		return "copy"
	}
	return "copy@" + host
}

func (a *app) openStore(ctx context.Context, config postgres.Config, flag string) (*logEnd, error) {
	target, err := config.Target()
	if err != nil {
		return nil, ofEnd(flag, err)
	}
	engine, err := postgres.Open(ctx, config)
	if err != nil {
		return nil, ofEnd(flag, err)
	}
	store := core.NewStore(engine, core.StoreConfig{})
	return &logEnd{store, store, fmt.Sprintf("store %s of %s", target.Store, target), " --postgres URL --store " + target.Store, store.Close}, nil
}

func (a *app) openDirectory(ctx context.Context, f endFlags) (*logEnd, error) {
	dir := f.where
	if _, err := os.Stat(filepath.Join(dir, "log")); f.isThere && err != nil {
		return nil, usagef("check the path, which is that of gyre serve --data; a new store begins with gyre serve --data %s", shellQuote(dir)).because("%s has no log: %v", dir, err)
	}
	logger := newLogger(a.stderr, slog.LevelWarn)
	opening := a.newOpening(logger)
	engine, err := disk.Open(ctx, disk.Config{Dir: dir, SegmentBytes: f.segmentBytes, Logger: logger, Progress: opening.show})
	opening.finish()
	if err != nil {
		return nil, ofEnd(dir, err)
	}
	store := core.NewStore(engine, core.StoreConfig{})
	return &logEnd{store, store, dir, " --data " + dir, store.Close}, nil
}
