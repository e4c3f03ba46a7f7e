package effects

import (
	"encoding/json"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

const (
	// maxReadBytes bounds what ReadStream returns, but for one event.
	maxReadBytes = 1 << 20
	// maxPassedOver is how many pages of links to events that are not granted ReadStream passes
	// over in a row.
	maxPassedOver = 16
)

// ReadStream is plugins.Reads'. It sees what is in the log, and nothing staged. Links to events in
// streams that the binding does not grant are passed over.
func (x *Stage) ReadStream(stream []byte, from int64, limit int) ([]byte, abi.Errno) {
	name := string(stream)
	if from < 0 || limit < 1 || name != core.All && core.ValidateStream(name) != nil {
		return nil, abi.Invalid
	}
	if e := x.grants(plugins.CanReadStreams, "to read stream ", name); e != abi.OK {
		return nil, e
	}
	batch, e := x.readGranted(core.ReadRequest{
		Stream: name, From: uint64(max(from, 1)), Limit: core.Limit{Events: min(limit, abi.MaxBatchEvents), Bytes: maxReadBytes},
	})
	if e != abi.OK {
		return nil, e
	}
	x.view.Reset(0, 0, 0)
	for e := range batch.Events() {
		out := EventOf(&e, x.fields[:0])
		if x.fields = out.Fields; x.view.Add(&out) != nil {
			break
		}
	}
	return x.view.Bytes(), abi.OK
}

// readGranted reads the first page that has an event of a stream that the binding grants, or the
// last one.
func (x *Stage) readGranted(r core.ReadRequest) (core.Batch, abi.Errno) {
	for range maxPassedOver {
		page, err := x.ground.Read(x.ctx, r)
		switch {
		case err == nil:
		case core.IsAbsent(err):
			return core.Batch{}, abi.NotFound
		default:
			x.storage = err
			return core.Batch{}, abi.IO
		}
		if granted := page.Matching(&x.terms.reads); granted.Count > 0 || page.End {
			return granted, abi.OK
		}
		r.From, r.Limit.Events = page.Next, abi.MaxBatchEvents
	}
	return core.Batch{}, x.refuse(abi.Quota, "stream %.80q has links to events of streams that are not granted, up to %d", r.Stream, r.From-1)
}

// Config is plugins.Reads'.
func (x *Stage) Config(key []byte) ([]byte, abi.Errno) { return x.terms.config.Get(key) }

// Config answers what plugins ask of their config. It is safe for concurrent use.
type Config struct {
	whole   []byte
	members map[string]json.RawMessage
}

// NewConfig returns a config that is an object, or empty.
func NewConfig(config json.RawMessage) *Config {
	c := &Config{whole: config}
	if len(config) == 0 {
		c.whole = []byte("{}")
	}
	_ = json.Unmarshal(c.whole, &c.members) // it was checked when it was deployed
	return c
}

// Get is a member as JSON, or the whole config for the empty key.
func (c *Config) Get(key []byte) ([]byte, abi.Errno) {
	if len(key) == 0 {
		return c.whole, abi.OK
	}
	if value, ok := c.members[string(key)]; ok {
		return value, abi.OK
	}
	return nil, abi.NotFound
}
