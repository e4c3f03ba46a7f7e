package project

import (
	"context"
	"errors"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/trial"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// TryAlone runs the module on an event that a binding has parked, in a sandbox of this process, as
// the binding would with this version. The caller fills in what the trial reads; the rest is filled
// in here.
func (b *Built) TryAlone(ctx context.Context, old *plugins.Binding, event *core.Event, compile subscriptions.Compiler, a *trial.Alone) (plugins.PoisonTrial, error) {
	is, err := (&plugins.Deploy{}).Resolve(old.Name, old, &b.Version)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	a.Binding = &is
	if a.Item, err = itemOf(ctx, &is.Input, event, compile); err != nil {
		return plugins.PoisonTrial{}, err
	}
	code, err := wasm.InProcess(b.Parsed)
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	program, err := wasm.NewHost(wasm.DefaultMemory).Load(ctx, code, b.Version.Manifest.Entry())
	if err != nil {
		return plugins.PoisonTrial{}, err
	}
	defer func() { _ = program.Close() }() // frees memory only
	a.Program = program.Plugin()
	return a.Run(ctx)
}

// itemOf is an event as an input delivers it, or as it is if the input does not want it now.
func itemOf(ctx context.Context, input *plugins.Input, event *core.Event, compile subscriptions.Compiler) (delivery.Item, error) {
	item := delivery.Item{Position: event.Position, Raw: event.Raw}
	definition, err := input.Definition()
	if err != nil {
		return item, err
	}
	picker, err := subscriptions.NewPicker(&definition, subscriptions.Programs{Compile: compile})
	if err != nil {
		return item, err
	}
	var batch core.Batch
	batch.Add(event.Raw, event.Position)
	items, _, err := picker.Items(ctx, nil, batch)
	if err == nil && len(items) > 0 {
		item = items[0]
	}
	return item, errors.Join(err, picker.Close())
}
