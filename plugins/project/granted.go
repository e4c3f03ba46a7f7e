package project

import (
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/testhost"
)

// grantedHost is what a sandbox is connected to: a host in memory that denies what was not
// granted. It implements plugins.Effects, plugins.Reads and plugins.Output.
type grantedHost struct {
	*testhost.Host
	granted plugins.Capabilities
}

// effect begins an event, if it is not the current one, for an effect that needs a grant.
func (h *grantedHost) effect(event int, kind plugins.CapabilityKind, name string) abi.Errno {
	if !h.granted.Allow(kind, name) {
		return abi.Denied
	}
	if h.Current() != event {
		h.Begin(event)
	}
	return abi.OK
}

func (h *grantedHost) Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno {
	h.Host.Result(event, action, uint32(delay.Milliseconds()), string(message))
	return abi.OK
}

func (h *grantedHost) Append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	if e := h.effect(event, plugins.CanAppend, string(stream)); e != abi.OK {
		return e
	}
	return h.Host.Append(string(stream), expected, events)
}

func (h *grantedHost) Put(event int, key, value []byte) abi.Errno {
	if e := h.effect(event, plugins.CanUseState, ""); e != abi.OK {
		return e
	}
	return h.Host.Put(string(key), value)
}

func (h *grantedHost) Delete(event int, key []byte) abi.Errno {
	if e := h.effect(event, plugins.CanUseState, ""); e != abi.OK {
		return e
	}
	return h.Host.Delete(string(key))
}

func (h *grantedHost) Get(key []byte) ([]byte, abi.Errno) {
	if !h.granted.Allow(plugins.CanUseState, "") {
		return nil, abi.Denied
	}
	return h.Host.Get(string(key))
}

func (h *grantedHost) Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno) {
	if !h.granted.Allow(plugins.CanUseState, "") {
		return nil, abi.Denied
	}
	return h.Host.Scan(string(prefix), string(after), limit, size)
}

func (h *grantedHost) ReadStream(stream []byte, from int64, limit int) ([]byte, abi.Errno) {
	if !h.granted.Allow(plugins.CanReadStreams, string(stream)) {
		return nil, abi.Denied
	}
	return h.Host.ReadStream(string(stream), from, limit)
}

func (h *grantedHost) Config(name []byte) ([]byte, abi.Errno) { return h.ConfigOf(string(name)) }

// Secret and HTTP answer what nodes answer today.
func (h *grantedHost) Secret([]byte) ([]byte, abi.Errno) { return nil, abi.Unsupported }
func (h *grantedHost) HTTP([]byte) ([]byte, abi.Errno)   { return nil, abi.Unsupported }

func (h *grantedHost) Log(level abi.Level, line []byte) { h.Host.Log(level, string(line)) }

func (h *grantedHost) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	return h.Host.Metric(kind, string(name), value)
}
