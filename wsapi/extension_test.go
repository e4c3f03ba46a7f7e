package wsapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// counter is a Stream that counts up to its end.
type counter int

func (c counter) Run(ctx context.Context, send func(any) error) error {
	for n := range int(c) {
		if err := send(map[string]int{"n": n + 1}); err != nil {
			return err
		}
	}
	if c == 3 {
		return core.Errorf(core.CodeNotFound, "there is no 4")
	}
	<-ctx.Done()
	return ctx.Err()
}

func (counter) Close() {}

// counting adds a route, an op and a sub.
func counting() wsapi.Extension {
	return wsapi.Extension{
		Feature: "counting",
		Routes: []wsapi.Route{{Needs: access.Connect, Method: "GET", Path: "/v1/double/{n}", Query: []string{"times"}, Handle: func(w http.ResponseWriter, r *http.Request) error {
			if r.PathValue("n") == "0" {
				return core.Errorf(core.CodeNotFound, "there is no double of 0")
			}
			_, err := fmt.Fprint(w, r.PathValue("n"), r.URL.Query().Get("times"))
			return err
		}}},
		Ops: []wsapi.Op{{Name: "double", Needs: access.Connect, Do: func(ctx context.Context, message []byte) (any, error) {
			var m struct{ N int }
			if err := json.Unmarshal(message, &m); err != nil {
				return nil, err
			}
			switch m.N {
			case 0:
				return nil, core.Errorf(core.CodeNotFound, "there is no double of 0")
			case 1:
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return map[string]int{"n": 2 * m.N}, nil
		}}},
		Subs: []wsapi.Sub{{Name: "count", Needs: access.Connect, Open: func(_ context.Context, message []byte) (wsapi.Stream, error) {
			var m struct{ To int }
			if err := json.Unmarshal(message, &m); err != nil {
				return nil, err
			}
			if m.To == 0 {
				return nil, core.Errorf(core.CodeInvalidRequest, "to is missing")
			}
			return counter(m.To), nil
		}}},
	}
}

func TestExtensions(t *testing.T) {
	n := newNode(t, wsapi.Config{Extensions: []wsapi.Extension{counting()}})
	if a := n.do("GET", "/v1/double/2?times=3", "").want(t, 200); string(a.body) != "23" {
		t.Errorf("route: %s", a.body)
	}
	if f := n.do("GET", "/v1/double/0", "").want(t, 404).fields(t); f["code"] != "not_found" || f["detail"] != "there is no double of 0" {
		t.Errorf("route: %v", f)
	}
	n.do("GET", "/v1/double/2?time=3", "").want(t, 400)
	if a := n.do("POST", "/v1/double/2", "").want(t, 405); a.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("route: %v", a.Header)
	}
	if f := n.do("GET", "/v1/server", "").fields(t); !slices.Contains(f["features"].([]any), any("counting")) {
		t.Errorf("features: %v", f["features"])
	}
	for _, protocol := range []string{wire.JSON, wire.Bin} {
		t.Run(protocol, func(t *testing.T) { extended(t, n.greeted(protocol)) })
	}
}

// extended uses an op and a sub of an extension.
func extended(t *testing.T, p *peer) {
	ask := func(text, want string) {
		t.Helper()
		p.say(text)
		answer, err := json.Marshal(p.receive())
		if err != nil || !strings.HasPrefix(string(answer), want) {
			t.Errorf("%s is answered %s, %v, want %s", text, answer, err, want)
		}
	}
	ask(`{"op":"double","id":2,"n":21}`, `{"id":2,"n":42,"op":"ok"}`)
	p.say(`{"op":"double","id":3,"n":0}`)
	p.refused("an error", 3, "not_found")
	p.say(`{"op":"double","id":4,"n":1,"timeoutMs":1}`)
	p.refused("a deadline", 4, "timeout")
	p.say(`{"op":"double","n":1}`)
	p.refused("no id", 0, "invalid_request")
	p.say(`{"op":"double","id":5,"n":2,"x":"` + strings.Repeat("x", 64<<10) + `"}`)
	p.refused("a large one", 5, "invalid_request")

	p.say(`{"op":"count","id":6,"sub":1}`)
	p.refused("no end", 6, "invalid_request")
	ask(`{"op":"count","id":7,"sub":1,"to":3,"credit":{"events":2}}`, `{"id":7,"op":"ok","sub":1}`)
	for n := range 2 {
		if m := p.receive(); m["op"] != "count" || m["n"] != float64(n+1) {
			t.Errorf("message %d: %v", n+1, m)
		}
	}
	p.say(`{"op":"count","id":8,"sub":1,"to":9}`)
	p.refused("the number is in use", 8, "duplicate_sub")
	ask(`{"op":"credit","sub":1,"events":5}`, `{"n":3,"op":"count","sub":1}`)
	if m := p.receive(); m["op"] != "end" || m["error"].(map[string]any)["code"] != "not_found" {
		t.Errorf("the end is %v", m)
	}
	ask(`{"op":"count","id":9,"sub":1,"to":1}`, `{"id":9,"op":"ok","sub":1}`)
	if m := p.receive(); m["n"] != 1.0 {
		t.Errorf("message 1: %v", m)
	}
	p.say(`{"op":"unsubscribe","id":10,"sub":1}`)
	if m := p.receive(); m["op"] != "ok" || m["id"] != 10.0 {
		t.Errorf("unsubscribe is answered %v", m)
	}
}

func TestExtensionsReplaceNothing(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	for name, e := range map[string]wsapi.Extension{
		"a route":     {Routes: []wsapi.Route{{Needs: access.Read, Method: "GET", Path: "/v1/events"}}},
		"an op":       {Ops: []wsapi.Op{{Name: "append", Needs: access.Connect}}},
		"a sub":       {Subs: []wsapi.Sub{{Name: "events", Needs: access.Connect}}},
		"its own sub": {Ops: []wsapi.Op{{Name: "x", Needs: access.Connect}}, Subs: []wsapi.Sub{{Name: "x", Needs: access.Connect}}},
	} {
		if _, err := wsapi.New(wsapi.Config{Store: store, Extensions: []wsapi.Extension{e}}); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
