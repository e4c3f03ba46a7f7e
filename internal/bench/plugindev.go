package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins/dev"
	"github.com/gyre-events/gyre/plugins/project"
)

// devSources are the files in which a round changes a number, by language, and the code around it.
var devSources = map[string]struct {
	file, before, after string
	most                float64 // seconds
}{
	"go":             {"main.go", "e.Type, ", ")", 4},
	"rust":           {"src/lib.rs", "e.event_type, ", ")", 2},
	"c":              {"main.c", "e->type, ", ",", 2},
	"assemblyscript": {"assembly/index.ts", "e.type, ", ")", 2},
}

// benchDev measures a round of gyre plugin dev: one line of a new plugin is changed, it is built, and
// its module handles a thousand events. Its toolchain has built it before. A language without a
// toolchain is passed over.
func benchDev(b *bench) error {
	log := core.NewStore(memory.New(), core.StoreConfig{})
	defer func() { _ = log.Close() }() // it is in memory
	for n := range 1000 {
		event := core.NewEvent{Type: fmt.Sprint("Type", n%20), Data: fmt.Appendf(nil, `{"total":%d}`, n)}
		c := core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("s-", n%50), Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}
		if _, err := log.Append(b.ctx, c); err != nil {
			return err
		}
	}
	for _, language := range project.Languages() {
		if err := benchRounds(b, language, log); errors.Is(err, core.CodeToolchainMissing) {
			b.progress("plugin/dev/%s: %v", language, err)
		} else if err != nil {
			return fmt.Errorf("a plugin in %s: %w", language, err)
		}
	}
	return nil
}

func benchRounds(b *bench, language string, log core.Log) error {
	dir := filepath.Join(b.dir, "dev-"+language)
	if err := project.Create(dir, project.New{Name: "counter", Language: language}); err != nil {
		return err
	}
	if language == "assemblyscript" { // what npm has installed for the tests
		packages, err := filepath.Abs("sdk/assemblyscript/node_modules")
		if err != nil {
			return err
		}
		if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
			return err
		}
	}
	change := devSources[language]
	path := filepath.Join(dir, change.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	loop := dev.New(dev.Config{Dir: dir, Source: dev.NewLast(log, dev.DefaultLast, expression.NewCompiler().Compile), Show: 20})
	var took []float64
	for n := range 1 + b.n(rounds) {
		number := fmt.Sprintf("%s%d%s", change.before, n+1, change.after)
		if err := os.WriteFile(path, bytes.Replace(text, []byte(change.before+"1"+change.after), []byte(number), 1), 0o600); err != nil {
			return err
		}
		r := loop.Once(b.ctx)
		switch {
		case r.Err != nil:
			return r.Err
		case r.Tried.Acked != 1000 || n > 0 && r.Changes.Events != 1000:
			return fmt.Errorf("round %d is not what it should be: %+v, %+v", n, r.Tried, r.Changes)
		case n > 0:
			took = append(took, r.Seconds)
		}
	}
	b.add(alone("plugin/dev/"+language, "s", figure(took), atMost(ofValue, change.most), "a changed line, built, and run over 1,000 events"))
	return nil
}
