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
	segmentBytes int64 // of a directory
}

// logEnd is an end of a copy.
type logEnd struct {
	core.Log
	name  string // for people
	close func() error
}

// isNode says that the end is a node that runs, which does not tell its links.
func (l *logEnd) isNode() bool {
	_, tells := l.Log.(core.LogReader)
	return !tells
}

// readLog reads a page of an end from a position on, with its links if it tells them.
func (a *app) readLog(ctx context.Context, end *logEnd, from uint64, events int) (page core.Page, err error) {
	ctx, cancel := a.request(ctx)
	defer cancel()
	limit := core.Limit{Events: events}
	if log, ok := end.Log.(core.LogReader); ok {
		page, err = log.ReadLog(ctx, from, limit)
	} else {
		page, err = end.Read(ctx, core.ReadRequest{Stream: core.All, From: from, Limit: limit})
	}
	return page, end.explain(err)
}

// gap is the error where nothing can be read of an end at a position.
func (l *logEnd) gap(position uint64) error {
	if l.isNode() {
		return notTold(l, l, position)
	}
	return core.Errorf(core.CodeNotSupported, "%s has nothing at position %d, and a copy has all positions of its source", l.name, position)
}

// notTold is the error of a link of an end that is, or is copied to, a node.
func notTold(l, node *logEnd, position uint64) error {
	return &advised{
		core.Errorf(core.CodeNotSupported, "%s has a link at position %d, and %s is a node, which does not tell its links", l.name, position, node.name),
		"Stop the node, and name its directory; or name its database.",
	}
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
	return &at
}

// openEnd opens the log of an end. The source has to be there; the target is made.
func (a *app) openEnd(ctx context.Context, f endFlags, flag string) (*logEnd, error) {
	isSource := flag == "--from"
	switch {
	case postgres.IsURL(f.where):
		return a.openStore(ctx, postgres.Config{URL: f.where, Store: f.store, Node: "copy", Version: version, NoMigrate: isSource}, flag)
	case f.store != "":
		return nil, usagef("leave %s-store out", flag).because("%s is no PostgreSQL database, and has no stores", flag)
	case strings.Contains(f.where, "://"):
		client, err := a.dialTo(ctx, f.where)
		if err != nil {
			return nil, ofEnd(flag, err)
		}
		return &logEnd{client, f.where, client.Close}, nil
	}
	return a.openDirectory(ctx, f, isSource)
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
	return &logEnd{store, fmt.Sprintf("store %s of %s", target.Store, target), store.Close}, nil
}

func (a *app) openDirectory(ctx context.Context, f endFlags, isSource bool) (*logEnd, error) {
	dir := f.where
	if _, err := os.Stat(filepath.Join(dir, "log")); isSource && err != nil {
		return nil, usagef("check the path of --from; it is what gyre serve --data names").because("%s has no log: %v", dir, err)
	}
	logger := newLogger(a.stderr, slog.LevelWarn)
	opening := a.newOpening(logger)
	engine, err := disk.Open(ctx, disk.Config{Dir: dir, SegmentBytes: f.segmentBytes, Logger: logger, Progress: opening.show})
	opening.finish()
	if err != nil {
		return nil, ofEnd(dir, err)
	}
	store := core.NewStore(engine, core.StoreConfig{})
	return &logEnd{store, dir, store.Close}, nil
}
