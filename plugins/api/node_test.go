package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/api"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/plugins/output"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/validators"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// waitLimit is how long a test waits for what has to come.
const waitLimit = time.Minute

func TestMain(m *testing.M) { wasmtest.Main(m) }

// node is what a node has that runs plugins, in memory.
type node struct {
	t      *testing.T
	url    string
	store  *core.Store
	audit  *acts
	client *sdk.Client
}

// acts keep what is recorded of a node.
type acts struct {
	mu   sync.Mutex
	list []string
}

// Record is part of wsapi.Auditor.
func (a *acts) Record(_ context.Context, act wsapi.Act) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, act.Kind+" "+act.Target)
	return nil
}

// of are the acts upon a target.
func (a *acts) of(target string) (list []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, act := range a.list {
		if strings.HasSuffix(act, " "+target) {
			list = append(list, act)
		}
	}
	return list
}

func newNode(t *testing.T) *node { return newNodeFor(t, access.Everybody{}, "") }

// newNodeFor is a node whose clients need keys, with a client that has one.
func newNodeFor(t *testing.T, who access.Authenticator, token string) *node {
	t.Helper()
	judges := validators.New()
	store := core.NewStore(memory.New(), core.StoreConfig{Admit: judges.Admit})
	subs, err := subscriptions.New(subscriptions.Config{Store: store, Compile: expression.NewCompiler().Compile})
	if err != nil {
		t.Fatal(err)
	}
	outputs := output.New(store, nil)
	var bindings *host.Host
	versions, err := registry.New(registry.Config{
		Store: store, CacheDir: filepath.Join(t.TempDir(), "cache"), Command: wasmtest.Command(),
		Uses: func(ctx context.Context, plugin, version string) (names []string, err error) {
			names, err = bindings.Uses(ctx, plugin, version)
			if err != nil {
				return nil, err
			}
			others, err := judges.Uses(ctx, plugin, version)
			return append(names, others...), err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	bindings, err = host.New(host.Config{
		Store: store, Subscriptions: subs, Programs: versions, Versions: versions,
		Output: func(b *plugins.Binding, lane int) host.Output { return outputs.Lane(b, lane) },
		Ended:  outputs.Ended,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = judges.Open(t.Context(), validators.Config{
		Store: store, Code: versions, Ended: outputs.Ended,
		Output: func(b *plugins.Binding, lane int) plugins.Output { return outputs.Lane(b, lane) },
	})
	if err != nil {
		t.Fatal(err)
	}
	extension := api.New(api.Config{Bindings: bindings, Validators: judges, Registry: versions, Logs: outputs})
	audit := &acts{}
	served, err := wsapi.New(wsapi.Config{Store: store, Subscriptions: subs, Access: who, Audit: audit, Extensions: []wsapi.Extension{extension}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(served)
	client, err := sdk.Dial(t.Context(), server.URL, sdk.Options{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		for _, end := range []func() error{
			client.Close,
			func() error { return served.Close(ctx) },
			func() error { server.Close(); return nil },
			func() error { return bindings.Close(ctx) },
			func() error { return judges.Close(ctx) },
			func() error { return outputs.Close(ctx) },
			versions.Close,
			func() error { return subs.Close(ctx) },
			store.Close,
		} {
			if err := end(); err != nil {
				t.Error(err)
			}
		}
	})
	return &node{t: t, url: server.URL, store: store, audit: audit, client: client}
}

// append appends events, each with its words as data.
func (n *node) append(words ...string) {
	n.t.Helper()
	for _, w := range words {
		data, err := json.Marshal(map[string]string{"words": w})
		if err != nil {
			n.t.Fatal(err)
		}
		c := core.Commit{Appends: []core.Append{{Stream: "in", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "Said", Data: data}}}}}
		if _, err := n.client.Append(n.t.Context(), c); err != nil {
			n.t.Fatal(err)
		}
	}
}

// handled waits until a binding has handled all events that there are now.
func (n *node) handled(binding string) plugins.Status {
	n.t.Helper()
	head := n.store.State().Head
	return n.until(binding, fmt.Sprintf("it is at %d", head), func(s *plugins.Status) bool { return s.Checkpoint >= head })
}

// until waits until a binding is as it should be.
func (n *node) until(binding, what string, is func(*plugins.Status) bool) plugins.Status {
	n.t.Helper()
	for by := time.Now().Add(waitLimit); ; time.Sleep(5 * time.Millisecond) {
		s, err := n.client.Plugins().Status(n.t.Context(), binding)
		if err != nil {
			n.t.Fatal(err)
		}
		if is(&s) {
			return s
		}
		if time.Now().After(by) {
			n.t.Fatalf("%s: not %s: %+v", binding, what, s)
		}
	}
}

// answer is that of a request.
type answer struct {
	*http.Response
	body string
}

// do makes a request over HTTP. Headers are pairs.
func (n *node) do(method, path, body string, headers ...string) answer {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return answer{res, string(text)}
}

// socket is a WebSocket connection that was greeted.
type socket struct {
	*websocket.Conn
	t  *testing.T
	id int
}

func (n *node) dial() *socket { return n.dialAs("") }

// dialAs is dial with a token.
func (n *node) dialAs(token string) *socket {
	n.t.Helper()
	conn, res, err := websocket.DefaultDialer.DialContext(n.t.Context(), "ws"+strings.TrimPrefix(n.url, "http")+"/v1/ws", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	_ = res.Body.Close()
	n.t.Cleanup(func() { _ = conn.Close() })
	s := &socket{Conn: conn, t: n.t}
	s.ask("hello", fmt.Sprintf(`"auth":{"token":%q}`, token))
	return s
}

// ask sends a message with fields, and returns the answer.
func (s *socket) ask(op, fields string) map[string]any {
	s.t.Helper()
	s.id++
	text := fmt.Sprintf(`{"op":%q,"id":%d`, op, s.id)
	if fields != "" {
		text += "," + fields
	}
	if err := s.WriteMessage(websocket.TextMessage, []byte(text+"}")); err != nil {
		s.t.Fatal(err)
	}
	return s.receive()
}

func (s *socket) receive() map[string]any {
	s.t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(waitLimit))
	_, text, err := s.ReadMessage()
	if err != nil {
		s.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		s.t.Fatal(err)
	}
	return m
}
