package wsapi_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// keys are the principals of tokens.
type keys map[string]*access.Principal

func (k keys) Authenticate(token string) (*access.Principal, error) {
	if p := k[token]; p != nil {
		return p, nil
	}
	return nil, core.Errorf(core.CodeUnauthenticated, "no such key")
}

// testKeys are a writer's and a reader's of order-*, and an operator's.
func testKeys() keys {
	return keys{
		"writer-key":   {Name: "w1", Role: access.Writer, Streams: []string{"order-*"}},
		"reader-key":   {Name: "r1", Role: access.Reader, Streams: []string{"order-*"}},
		"operator-key": {Name: "o1", Role: access.Operator},
	}
}

const (
	asWriter = "Authorization: Bearer writer-key"
	asReader = "Authorization: Bearer reader-key"
)

// ticketFor makes a ticket of the reader.
func (n *node) ticketFor(path string) string {
	n.t.Helper()
	made := n.do("POST", "/v1/tickets", fmt.Sprintf(`{"path":%q}`, path), asReader, "Content-Type: application/json").want(n.t, 201)
	if made.Header.Get("Cache-Control") != "no-store" {
		n.t.Errorf("a ticket may be kept: %v", made.Header)
	}
	return made.fields(n.t)["ticket"].(string)
}

func TestTicketsAreGoodOnceForOnePath(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	for _, stream := range []string{"order-1", "order-2"} {
		n.do("POST", "/v1/streams/"+stream+"/events", `[{"type":"T","data":1}]`, asWriter, "Content-Type: application/json").want(t, 201)
	}
	refused := func(method, path string, headers ...string) {
		t.Helper()
		a := n.do(method, path, "", headers...)
		a.want(t, 401)
		if a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", path)
		}
	}
	n.do("GET", "/v1/events?limit=1&ticket="+n.ticketFor("/v1/events"), "").want(t, 200)
	n.do("GET", "/v1/streams/order-1/events?ticket="+n.ticketFor("/v1/streams/order-1/events"), "").want(t, 200)
	// The ticket does what its maker may, and no more.
	n.do("GET", "/v1/streams/billing-1/events?ticket="+n.ticketFor("/v1/streams/billing-1/events"), "").want(t, 403)
	n.do("GET", "/v1/server?ticket="+n.ticketFor("/v1/server"), "").want(t, 200)
	n.do("GET", "/v1/server?nothing=1&ticket="+n.ticketFor("/v1/server"), "").want(t, 400)

	used := n.ticketFor("/v1/events")
	n.do("GET", "/v1/events?ticket="+used, "").want(t, 200)
	refused("GET", "/v1/events?ticket="+used)
	for _, path := range []string{"/v1/streams/order-2/events", "/v1/streams/order%2d1/events", "/v1/events", "/livez"} {
		ticket := n.ticketFor("/v1/streams/order-1/events")
		refused("GET", path+"?ticket="+ticket)
		refused("GET", "/v1/streams/order-1/events?ticket="+ticket) // it was spoiled
	}
	refused("HEAD", "/v1/streams/order-1/events?ticket="+n.ticketFor("/v1/streams/order-1/events"))
	refused("GET", "/v1/events?ticket="+n.ticketFor("/v1/events"), asReader)
	refused("GET", "/v1/events?ticket="+n.ticketFor("/v1/events")+"&ticket="+n.ticketFor("/v1/events"))
	refused("GET", "/v1/events?ticket=")
	refused("GET", "/v1/events?ticket=x")
	refused("POST", "/v1/tickets")
}

// TestOneOfManyUsesATicket: of those that have it at the same time.
func TestOneOfManyUsesATicket(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	url := n.http.URL + "/v1/server?ticket=" + n.ticketFor("/v1/server")
	var all sync.WaitGroup
	var mu sync.Mutex
	status := map[int]int{}
	for range 20 {
		all.Go(func() {
			res, err := http.Get(url)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			status[res.StatusCode]++
		})
	}
	all.Wait()
	if status[200] != 1 || status[401] != 19 {
		t.Errorf("the answers were %v", status)
	}
}

func TestTicketsForNothingThatIsServed(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	for path, status := range map[string]int{
		"":                          400,
		"v1/events":                 400,
		"/v1/events?limit=1":        400,
		"/v1/events#x":              400,
		"http://elsewhere/v1/e":     400,
		"/v1/streams/a b/events":    400,
		"//elsewhere/v1/events":     404,
		"/v1/../v1/events":          404,
		"/v1/nothing":               404,
		"/v1/transactions":          405,
		"/v1/subscriptions":         403,
		"/v1/ws":                    201,
		"/v1/streams/a%2Fb/events":  201,
		"/v1/subscriptions/billing": 201,
	} {
		n.do("POST", "/v1/tickets", fmt.Sprintf(`{"path":%q}`, path), asReader, "Content-Type: application/json").want(t, status)
	}
}

// TestTicketsEnd does not wait: time is virtual.
func TestTicketsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		defer store.Close()
		api, err := wsapi.New(wsapi.Config{Store: store, Access: testKeys()})
		if err != nil {
			t.Fatal(err)
		}
		defer api.Close(t.Context())
		do := func(method, path, body, key string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if key != "" {
				r.Header.Set("Authorization", "Bearer "+key)
			}
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			return w
		}
		ticket := func(key string) (string, int) {
			w := do("POST", "/v1/tickets", `{"path":"/v1/server"}`, key)
			text, _ := answer{body: w.Body.Bytes()}.fields(t)["ticket"].(string)
			return text, w.Code
		}
		for wait, status := range map[time.Duration]int{0: 200, 30*time.Second - 1: 200, 30 * time.Second: 401} {
			text, _ := ticket("reader-key")
			time.Sleep(wait)
			if w := do("GET", "/v1/server?ticket="+text, "", ""); w.Code != status {
				t.Errorf("after %s: %d %s, want %d", wait, w.Code, w.Body, status)
			}
		}
		// One who makes many and uses none keeps nobody else from it.
		for range 256 {
			if _, status := ticket("reader-key"); status != 201 {
				t.Fatalf("a ticket: %d", status)
			}
		}
		if _, status := ticket("reader-key"); status != 503 {
			t.Errorf("one ticket too many: %d", status)
		}
		if _, status := ticket("operator-key"); status != 201 {
			t.Errorf("a ticket of another: %d", status)
		}
		time.Sleep(30 * time.Second)
		if _, status := ticket("reader-key"); status != 201 {
			t.Errorf("a ticket after the others have ended: %d", status)
		}
	})
}

// TestSecretsInURLsAreRefused, and do not come back in the answer or in the log.
func TestSecretsInURLsAreRefused(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for name, authenticator := range map[string]access.Authenticator{"keys": testKeys(), "no keys": nil} {
		n := newNode(t, wsapi.Config{Access: authenticator, Logger: logger})
		secret := "gyre_k1_" + strings.Repeat("planted", 6)
		for _, query := range []string{
			"token=planted", "access_token=planted", "api-key=planted", "apiKey=planted", "key=planted", "auth=planted", "TOKEN=planted",
			"Authorization=Bearer+planted", "limit=1&secret=planted", "%74oken=planted", "token=planted&token=", "cursor=" + secret, "prefix=x&prefix=" + url.QueryEscape(secret),
		} {
			for _, path := range []string{"/v1/events", "/v1/ws", "/livez", "/v1/server", "/"} {
				a := n.do("GET", path+"?"+query, "", asReader)
				if a.want(t, 401); strings.Contains(string(a.body), "planted") || strings.Contains(fmt.Sprint(a.Header), "planted") {
					t.Errorf("%s, %s?%s: the answer has the secret: %s", name, path, query, a.body)
				}
			}
		}
		n.do("GET", "/v1/streams?prefix=gyre_metrics_of_all_the_nodes", "", asReader).want(t, 200)
	}
	if strings.Contains(log.String(), "planted") {
		t.Errorf("the log has the secret:\n%s", log.String())
	}
}

// TestTicketsOpenWebSockets: what a ticket's maker may do, without a token in hello.
func TestTicketsOpenWebSockets(t *testing.T) {
	n := newNode(t, wsapi.Config{Access: testKeys()})
	c := n.connectTo("/v1/ws?ticket=" + n.ticketFor("/v1/ws"))
	c.say(`{"op":"hello","id":1}`)
	if p, _ := c.receive()["principal"].(map[string]any); p["name"] != "r1" {
		t.Errorf("the connection is for %v", p)
	}
	n.do("GET", "/v1/ws?ticket=x", "").want(t, 401)
}
