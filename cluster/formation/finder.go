package formation

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core/ring"
)

const (
	// findWithin bounds one Find.
	findWithin = 10 * time.Second
	// maxAddresses bounds what is kept of one Find.
	maxAddresses = 256
)

// Provider is one way to find the gossip addresses of other nodes.
type Provider struct {
	// Name says which: the setting that asks for it, as it is called.
	Name string
	// Find returns the addresses, host:port, in any order. With an error and no address,
	// those of the last time stay. ctx has a deadline, which Find keeps.
	Find func(ctx context.Context) ([]string, error)
	// Every is the pause between two Finds. 0: one Find is enough.
	Every time.Duration
	// Close ends what the provider has open. nil: nothing.
	Close func()
}

// Static is a provider of addresses that do not change.
func Static(name string, addresses []string) Provider {
	return Provider{Name: name, Find: func(context.Context) ([]string, error) { return addresses, nil }}
}

// Finder asks providers until Close. It is safe for concurrent use.
type Finder struct {
	log       *slog.Logger
	providers []Provider
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	seeds     chan []string // the newest union, if it was not taken yet

	mu    sync.Mutex // protects what follows, and who puts into seeds
	found []ring.Provider
	union []string
}

// Start asks each provider at once, and then at its pace. The Finder closes them.
func Start(providers []Provider, log *slog.Logger) *Finder {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Finder{log: log, providers: providers, cancel: cancel, seeds: make(chan []string, 1), found: make([]ring.Provider, len(providers))}
	for i, p := range providers {
		f.found[i] = ring.Provider{Name: p.Name, Addresses: []string{}}
		f.wg.Go(func() { f.ask(ctx, i) })
	}
	return f
}

// Seeds returns the channel of cluster.Config.Seeds: all that the providers have found,
// after each change.
func (f *Finder) Seeds() <-chan []string { return f.seeds }

// Report says what each provider found last, in the order of Start.
func (f *Finder) Report() []ring.Provider {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.found)
}

// Close ends the asking, and closes the providers.
func (f *Finder) Close() {
	f.cancel()
	f.wg.Wait()
	for _, p := range f.providers {
		if p.Close != nil {
			p.Close()
		}
	}
}

// ask asks one provider until ctx ends.
func (f *Finder) ask(ctx context.Context, i int) {
	p := f.providers[i]
	for {
		limited, cancel := context.WithTimeout(ctx, findWithin)
		addresses, err := p.Find(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		f.note(i, addresses, err)
		if p.Every == 0 {
			return
		}
		select {
		case <-time.After(p.Every):
		case <-ctx.Done():
			return
		}
	}
}

// note keeps what a provider has found.
func (f *Finder) note(i int, addresses []string, err error) {
	addresses = slices.Compact(slices.Sorted(slices.Values(addresses)))
	if err == nil && len(addresses) > maxAddresses {
		err = fmt.Errorf("there are %d addresses, of which the first %d are tried: name fewer", len(addresses), maxAddresses)
	}
	addresses = addresses[:min(len(addresses), maxAddresses)]
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &f.found[i]
	f.warn(r, err)
	r.Problem = ""
	if err != nil {
		r.Problem = err.Error()
		r.Failures++
	}
	if err != nil && len(addresses) == 0 {
		return
	}
	r.At = time.Now()
	if !slices.Equal(r.Addresses, addresses) {
		r.Addresses = append([]string{}, addresses...) // a report that was made keeps its own
		f.send()
	}
}

// warn says when a provider begins to fail, and when that is over. mu is held.
func (f *Finder) warn(r *ring.Provider, err error) {
	switch {
	case err != nil && r.Problem == "":
		f.log.Warn("a provider of peers fails; what it found last stays", "provider", r.Name, "error", err)
	case err == nil && r.Problem != "":
		f.log.Info("a provider of peers works again", "provider", r.Name)
	}
}

// send hands over the union, in place of one that nobody has taken. mu is held.
func (f *Finder) send() {
	var union []string
	for i := range f.found {
		union = append(union, f.found[i].Addresses...)
	}
	slices.Sort(union)
	union = slices.Compact(union)
	if slices.Equal(union, f.union) {
		return
	}
	f.union = union
	select {
	case <-f.seeds:
	default:
	}
	f.seeds <- union // mu is held: nobody else puts
}
