package formation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/cluster/formation"
)

// answer is what a scripted provider finds.
type answer struct {
	addresses []string
	err       error
}

// scripted finds what is in the script, one answer each second, and the last one for good.
func scripted(name string, script ...answer) formation.Provider {
	return formation.Provider{Name: name, Every: time.Second, Find: func(context.Context) ([]string, error) {
		a := script[0]
		if len(script) > 1 {
			script = script[1:]
		}
		return a.addresses, a.err
	}}
}

func TestFinder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		broken := errors.New("broken")
		closed := false
		provider := scripted("one", answer{nil, broken}, answer{[]string{"b:1", "a:1"}, nil}, answer{nil, broken}, answer{nil, broken},
			answer{[]string{"c:1"}, broken}, answer{[]string{}, nil})
		provider.Close = func() { closed = true }
		f := formation.Start([]formation.Provider{provider, formation.Static("two", []string{"z:1", "b:1"})}, slog.New(slog.NewTextHandler(&log, nil)))
		for i, want := range []struct {
			seeds    string // "": no news
			found    string
			problem  string
			failures uint64
		}{
			{"b:1 z:1", "", "broken", 1},
			{"a:1 b:1 z:1", "a:1 b:1", "", 1},
			{"", "a:1 b:1", "broken", 2},
			{"", "a:1 b:1", "broken", 3},
			{"b:1 c:1 z:1", "c:1", "broken", 4},
			{"b:1 z:1", "", "", 4},
			{"", "", "", 4},
		} {
			synctest.Wait()
			seeds := ""
			select {
			case list := <-f.Seeds():
				seeds = strings.Join(list, " ")
			default:
			}
			r := f.Report()[0]
			if found := strings.Join(r.Addresses, " "); seeds != want.seeds || found != want.found || r.Problem != want.problem || r.Failures != want.failures || r.Name != "one" {
				t.Errorf("after %d s: seeds %q, %+v, want %+v", i, seeds, r, want)
			}
			time.Sleep(time.Second)
		}
		f.Close()
		if !closed {
			t.Error("the provider is not closed")
		}
		if warned, mended := strings.Count(log.String(), "fails"), strings.Count(log.String(), "works again"); warned != 2 || mended != 2 {
			t.Errorf("%d warnings and %d ends of them in\n%s", warned, mended, log.String())
		}
	})
}

// TestFinderBounds: of too many addresses some are tried, and the report says so.
func TestFinderBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many []string
		for i := range 1000 {
			many = append(many, fmt.Sprintf("10.0.%d.%d:7946", i/250, i%250))
		}
		f := formation.Start([]formation.Provider{scripted("many", answer{many, nil})}, slog.New(slog.DiscardHandler))
		defer f.Close()
		list := <-f.Seeds()
		if r := f.Report()[0]; len(list) != 256 || !slices.IsSorted(list) || len(r.Addresses) != 256 || !strings.Contains(r.Problem, "1000") {
			t.Errorf("%d addresses are tried; %+v", len(list), r)
		}
	})
}

// TestFinderClose: a provider that hangs ends with its Finder, and at its deadline.
func TestFinderClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := formation.Start([]formation.Provider{{Name: "hangs", Every: time.Second, Find: func(ctx context.Context) ([]string, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}}, slog.New(slog.DiscardHandler))
		time.Sleep(15 * time.Second)
		if r := f.Report()[0]; r.Failures != 1 {
			t.Errorf("after 15 s: %+v", r)
		}
		f.Close()
	})
}
