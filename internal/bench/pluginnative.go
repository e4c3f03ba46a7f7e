package main

import (
	"context"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// nativeOrders is the handler of internal/bench/guest/orders, mode append, without a sandbox.
// It is the one version and the one program that its host has.
type nativeOrders struct{}

func (nativeOrders) Version(context.Context, string, string) (plugins.Version, error) {
	return plugins.Version{Plugin: pathPlugin, Version: pathVersion, SHA256: strings.Repeat("0", 64), Manifest: pathManifest()}, nil
}

func (nativeOrders) CheckConfig(*plugins.Version, []byte) error { return nil }

func (nativeOrders) Hold(v *plugins.Version) (core.RecordOp, error) {
	return core.RecordOp{Table: "held", Key: v.Plugin, Expect: core.AnyVersion}, nil
}

func (n nativeOrders) Load(context.Context, plugins.Version) (plugins.Program, error) { return n, nil }

func (nativeOrders) LoadQuery(_ context.Context, v plugins.Version) (plugins.Program, error) {
	return nil, core.Errorf(core.CodeNoQuery, "%s answers no queries", v.Plugin)
}

func (nativeOrders) New(_ context.Context, c plugins.Connection) (plugins.Handler, error) {
	return &nativeHandler{effects: c.Effects}, nil
}

func (nativeOrders) Close() error { return nil }

type nativeHandler struct {
	effects plugins.Effects
	encoded []byte
}

func (h *nativeHandler) Handle(_ context.Context, batch []byte) (abi.Verdict, int64, error) {
	b, err := abi.OpenBatch(batch)
	if err != nil {
		return 0, 0, err
	}
	var e abi.Event
	for i := 0; ; i++ {
		if ok, err := b.Next(&e); !ok {
			return abi.Done, 0, err
		}
		h.encoded, err = abi.AppendEvent(h.encoded[:0], &abi.Appended{Type: []byte("OrderShipped"), Data: e.Data})
		if err != nil {
			return 0, 0, err
		}
		if answer := h.effects.Append(i, append([]byte("shipped-"), e.Stream...), int64(abi.AnyVersion), h.encoded); answer != abi.OK {
			return 0, 0, answer
		}
	}
}

func (*nativeHandler) MemoryBytes() int64 { return 0 }

func (h *nativeHandler) Close() {}
