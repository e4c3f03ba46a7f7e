package main

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/runtime/certs"
	"github.com/gyre-events/gyre/sdk"
)

const accessLog = 400_000 // events in the log that follows read

// evenStreams match half of the streams of a load: those whose number is even.
var evenStreams = []string{"order-*0", "order-*2", "order-*4", "order-*6", "order-*8"}

// benchAccess measures what keys and TLS cost, with clients and nodes in one process.
func benchAccess(b *bench) error {
	open, err := startGuarded(b, "open", runtime.TLSConfig{})
	if err != nil {
		return err
	}
	defer open.close()
	dir := filepath.Join(b.dir, "tls")
	if err := certs.WriteNew(dir, "127.0.0.1"); err != nil {
		return err
	}
	files := certs.Files{Cert: filepath.Join(dir, certs.CertFile), Key: filepath.Join(dir, certs.KeyFile), CA: filepath.Join(dir, certs.CAFile)}
	secure, err := startGuarded(b, "secure", runtime.TLSConfig{Files: files})
	if err != nil {
		return err
	}
	defer secure.close()
	if err := benchTLSAndKey(b, open, secure); err != nil {
		return err
	}
	return benchGrants(b)
}

// guardedNode is a node, and the admin's key if it has keys.
type guardedNode struct {
	*runtime.Node
	admin   string
	options sdk.Options
}

func startGuarded(b *bench, name string, t runtime.TLSConfig) (*guardedNode, error) {
	node, err := runtime.Start(b.ctx, runtime.Config{Listen: "127.0.0.1:0", Data: filepath.Join(b.dir, name), TLS: t})
	if err != nil {
		return nil, err
	}
	n := &guardedNode{Node: node}
	if t.Cert == "" {
		return n, nil
	}
	roots, err := certs.Pool("ca", t.CA)
	if err == nil {
		n.options.TLS = &tls.Config{RootCAs: roots}
		err = n.protect(b.ctx)
	}
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *guardedNode) close() { _ = n.Close(context.Background()) }

// protect makes the first key.
func (n *guardedNode) protect(ctx context.Context) (err error) {
	_, n.admin, err = n.Keys().Init(ctx, "")
	return err
}

// dial connects with a new key, or as anybody if want has no role.
func (n *guardedNode) dial(ctx context.Context, want keys.Key) (*sdk.Client, error) {
	o := n.options
	if want.Role != "" {
		admin, err := n.Keys().Authenticate(n.admin)
		if err != nil {
			return nil, err
		}
		if _, o.Token, err = n.Keys().Create(access.With(ctx, admin), want); err != nil {
			return nil, err
		}
	}
	return sdk.Dial(ctx, n.URL(), o)
}

// benchTLSAndKey measures appends over one connection: with TLS, by a writer that is granted
// the streams.
func benchTLSAndKey(b *bench, open, secure *guardedNode) error {
	plain, err := open.dial(b.ctx, keys.Key{})
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	writer, err := secure.dial(b.ctx, keys.Key{Role: access.Writer, Streams: []string{"order-*", "pipeline-*"}})
	if err != nil {
		return err
	}
	defer func() { _ = writer.Close() }()
	p, err := pair(rounds,
		func() (sample, error) { return pipeline(b.ctx, writer, window) },
		func() (sample, error) { return pipeline(b.ctx, plain, window) })
	if err != nil {
		return err
	}
	p.note = "256 appends in flight on one connection, with TLS 1.3 and a writer's key; floor: without both"
	b.add(p.result("access/tls_key", "events/s", atLeast(ofRatio, 0.85)))
	return nil
}

// benchGrants measures a follow of $all by a reader whose patterns match half of the events. Its
// floor is that of an admin who filters by the same patterns. Both pass by the same events and
// are sent the same half, so that what is between them is the cost of the grants.
func benchGrants(b *bench) error {
	n, err := startGuarded(b, "grants", runtime.TLSConfig{})
	if err != nil {
		return err
	}
	defer n.close()
	if err := n.protect(b.ctx); err != nil {
		return err
	}
	fill := &load{log: n.Store(), perCommit: 1000, appenders: 2}
	if _, err := fill.run(b.ctx, b.n(accessLog), 0); err != nil {
		return err
	}
	reader, err := n.dial(b.ctx, keys.Key{Role: access.Reader, Streams: evenStreams})
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }()
	admin, err := n.dial(b.ctx, keys.Key{Role: access.Admin})
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	p, err := pair(rounds,
		func() (sample, error) { return followPast(b.ctx, reader, core.Filter{}) },
		func() (sample, error) { return followPast(b.ctx, admin, core.Filter{Streams: evenStreams}) })
	if err != nil {
		return err
	}
	p.note = "events passed by in a follow of $all, of which 5 patterns of a reader's key match half; floor: an admin who filters by the same patterns"
	b.add(p.result("access/grants", "events/s", atLeast(ofRatio, 0.9)))
	return nil
}

// followPast follows $all from the start to the head, again and again, and returns the events
// that were passed by, delivered or not, in a second.
func followPast(ctx context.Context, client *sdk.Client, filter core.Filter) (sample, error) {
	begin, passed := time.Now(), uint64(0)
	for time.Since(begin) < window {
		n, err := followOnce(ctx, client, filter)
		if err != nil {
			return sample{}, err
		}
		passed += n
	}
	return rate(int(passed), begin), nil
}

func followOnce(ctx context.Context, client *sdk.Client, filter core.Filter) (passed uint64, err error) {
	follower, err := client.Follow(ctx, core.FollowRequest{Stream: core.All, Filter: filter})
	if err != nil {
		return 0, err
	}
	defer func() { _ = follower.Close() }()
	for {
		d, err := follower.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10})
		if err != nil || d.Live {
			return d.Cursor, err
		}
	}
}
