package runtime_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/wsapi/spectest"
)

// callers are the columns of the matrix, beside those without a valid key and an admin, who may
// do nothing and everything: '+' is granted the stream that is asked for, '-' another one.
var callers = map[string]keys.Key{
	"operator":  {Role: access.Operator},
	"operator+": {Role: access.Operator, Streams: []string{"order-*"}},
	"writer+":   {Role: access.Writer, Streams: []string{"order-*"}},
	"writer-":   {Role: access.Writer, Streams: []string{"other-*"}},
	"reader+":   {Role: access.Reader, Streams: []string{"order-*"}},
	"reader-":   {Role: access.Reader, Streams: []string{"other-*"}},
	"author+":   {Role: access.PluginAuthor, Streams: []string{"order-*"}},
	"author-":   {Role: access.PluginAuthor, Streams: []string{"other-*"}},
}

// Who may do an operation, by groups of callers.
const (
	everybody = "everybody"      // without a key, too
	handshake = "none " + anyKey // without a key, but not with a wrong one: hello may have it
	anyKey    = "operator operator+ writer+ writer- reader+ reader- author+ author-"
	names     = "operator operator+ writer+ writer- reader+ reader-"
	readers   = "operator+ writer+ reader+"
	allReader = "operator+ reader+ reader-"
	operators = "operator operator+"
	authors   = "operator operator+ author+ author-"
	states    = "operator operator+ reader+ reader- author+ author-"
	admins    = ""
)

// matrix says who may do each operation of the HTTP API. Where a plugin or binding is asked for,
// there is none of its name: what a key must be granted for one is plugins/api's to test.
var matrix = map[string]string{
	"GET /": everybody, "GET /livez": everybody, "GET /readyz": everybody, "GET /healthz": everybody,
	"GET /docs/errors/{code}": everybody, "GET /v1/ws": handshake, "POST /v1/keys/first": everybody,
	"GET /v1/session": everybody, "POST /v1/session": everybody, "DELETE /v1/session": everybody,

	"GET /v1/server": anyKey, "GET /v1/principal": anyKey, "GET /v1/plugins/abi": anyKey,
	"GET /metrics": operators, "GET /v1/stats": operators, "GET /v1/config": operators, "GET /openapi.json": operators, "GET /asyncapi.json": operators,

	"GET /v1/streams":             names,
	"DELETE /v1/streams/{stream}": "operator+ writer+", "POST /v1/streams/{stream}/undelete": "operator+ writer+",
	"POST /v1/streams/{stream}/events": "writer+", "POST /v1/streams/{stream}/links": "writer+", "POST /v1/transactions": "writer+",
	"GET /v1/streams/{stream}": readers, "GET /v1/streams/{stream}/events": readers, "HEAD /v1/streams/{stream}/events": readers,
	"GET /v1/streams/{stream}/snapshots": readers, "GET /v1/streams/{stream}/snapshots/{kind}": readers,
	"PUT /v1/streams/{stream}/snapshots/{kind}": "writer+", "DELETE /v1/streams/{stream}/snapshots/{kind}": "writer+",
	"GET /v1/retention": operators, "GET /v1/streams/{stream}/retention": readers,
	"PUT /v1/streams/{stream}/retention": "operator+", "DELETE /v1/streams/{stream}/retention": "operator+",
	"GET /v1/retention/{category}": admins, "PUT /v1/retention/{category}": admins, "DELETE /v1/retention/{category}": admins, // and those who are granted all of it
	"GET /v1/events/{id}": names, // one that a key may not read is not found
	"GET /v1/events":      allReader,
	"GET /v1/progress":    names, "GET /v1/progress/{progress}": names, "DELETE /v1/progress/{progress}": "operator operator+ writer+ writer-",

	"GET /v1/subscriptions": operators, "PUT /v1/subscriptions/{subscription}": operators, "DELETE /v1/subscriptions/{subscription}": operators,
	"GET /v1/subscriptions/{subscription}":        "operator operator+ writer+ reader+",
	"POST /v1/subscriptions/{subscription}/pause": operators, "POST /v1/subscriptions/{subscription}/resume": operators,
	"POST /v1/subscriptions/{subscription}/reset": operators, "GET /v1/subscriptions/{subscription}/parked": operators,
	"DELETE /v1/subscriptions/{subscription}/parked": operators, "POST /v1/subscriptions/{subscription}/parked/replay": operators,
	"POST /v1/subscriptions/{subscription}/fetch": readers, "POST /v1/subscriptions/{subscription}/ack": readers,
	"POST /v1/subscriptions/{subscription}/nack": readers, "POST /v1/subscriptions/{subscription}/extend": readers,

	"GET /v1/cluster/status": operators, "GET /v1/cluster/members": operators, "GET /v1/cluster/views": operators,
	"GET /v1/cluster/whereis": operators, "GET /v1/cluster/owned": operators,
	"POST /v1/cluster/drain": operators, "POST /v1/cluster/undrain": operators, "POST /v1/cluster/leave": operators,

	"GET /v1/plugins": authors, "GET /v1/plugins/{plugin}/versions": authors, "PUT /v1/plugins/{plugin}/versions/{version}": authors,
	"GET /v1/plugins/{plugin}/versions/{version}": authors, "DELETE /v1/plugins/{plugin}/versions/{version}": authors,
	"GET /v1/plugins/{plugin}/versions/{version}/module": authors, "GET /v1/plugins/{binding}": authors,
	"DELETE /v1/plugins/{binding}": authors, "POST /v1/plugins/{binding}/deploy": authors, "POST /v1/plugins/{binding}/pause": authors,
	"POST /v1/plugins/{binding}/resume": authors, "POST /v1/plugins/{binding}/rollback": authors, "POST /v1/plugins/{binding}/rebuild": authors,
	"POST /v1/plugins/{binding}/switch": authors, "DELETE /v1/plugins/{binding}/rebuild": authors, "DELETE /v1/plugins/{binding}/before": authors,
	"POST /v1/plugins/{binding}/dry-run": states, "POST /v1/plugins/{binding}/shadow": authors,
	"DELETE /v1/plugins/{binding}/shadow": authors, "GET /v1/plugins/{binding}/shadow": states,
	"GET /v1/plugins/{binding}/logs": authors, "GET /v1/plugins/{binding}/state": states, "GET /v1/plugins/{binding}/state/{key}": states, "POST /v1/plugins/{binding}/query": states,
	"GET /v1/plugins/{binding}/poison": states, "GET /v1/plugins/{binding}/poison/{position}": states, "POST /v1/plugins/{binding}/poison/{position}/run": states,
	"POST /v1/plugins/{binding}/poison/{position}/retry": authors, "DELETE /v1/plugins/{binding}/poison/{position}": authors,

	"GET /v1/keys": admins, "POST /v1/keys": admins, "DELETE /v1/keys/{key}": admins,
	"POST /v1/tickets": anyKey,

	"GET /v1/backup": admins, "GET /v1/backup/file": admins,
	"GET /v1/scavenge": operators, "POST /v1/scavenge": operators, "DELETE /v1/scavenge": operators,

	"GET /v1/types": admins, "GET /v1/categories": admins, // and those who are granted every stream
}

// opMatrix says who may do each op of the WebSocket protocol.
var opMatrix = map[string]string{
	"append": "writer+", "read": readers, "subscribe": readers, "streams": names, "stream": readers,
	"retention.list": operators, "retention.get": readers, "retention.put": "operator+", "retention.clear": "operator+",
	"retention.getDefault": admins, "retention.putDefault": admins, "retention.clearDefault": admins,
	"snapshot.list": readers, "snapshot.get": readers, "snapshot.put": "writer+", "snapshot.delete": "writer+",
	"credit": anyKey, "unsubscribe": anyKey, "ack": anyKey, "nack": anyKey, "extend": anyKey,
	"cancel": anyKey, "refresh": anyKey, "hello": anyKey, "ping": anyKey, "pong": anyKey,
	"cluster": operators, "types": admins, "categories": admins, "config": operators, "scavenge": operators, "scavenge.start": operators, "scavenge.stop": operators, "stats": operators, "stats.follow": operators, "plugin.list": authors, "plugin.abi": anyKey, "plugin.versions": authors, "plugin.version": authors,
	"plugin.deleteVersion": authors, "plugin.info": authors, "plugin.delete": authors, "plugin.deploy": authors, "plugin.pause": authors,
	"plugin.resume": authors, "plugin.rollback": authors, "plugin.rebuild": authors,
	"plugin.switch": authors, "plugin.cancelRebuild": authors, "plugin.dropBefore": authors, "plugin.state": states, "plugin.query": states, "plugin.logs": authors, "plugin.dryRun": states, "plugin.watch": states, "plugin.shadow": authors, "plugin.endShadow": authors, "plugin.differences": states,
	"plugin.poison": states, "plugin.showPoison": states, "plugin.runPoison": states, "plugin.retryPoison": authors, "plugin.dropPoison": authors,
}

// matrixNode is a node with a key for each caller.
type matrixNode struct {
	*runtime.Node
	tokens map[string]string
	event  string // the id of one in order-1
}

func newMatrixNode(t *testing.T) *matrixNode {
	t.Helper()
	n := &matrixNode{Node: start(t, runtime.Config{Engine: runtime.EngineMemory, HardDeletes: true}), tokens: map[string]string{"none": "", "wrong": keys.NewToken()}}
	_, admin, err := n.Keys().Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	n.tokens["admin"] = admin
	for name, k := range callers {
		n.tokens[name] = n.create(t, k)
	}
	n.tokens["expired"] = n.create(t, keys.Key{Role: access.Admin, Expires: time.Now().Add(time.Second)})
	n.tokens["revoked"] = n.create(t, keys.Key{Role: access.Admin})
	p, err := n.Keys().Authenticate(n.tokens["revoked"])
	if err == nil {
		err = n.Keys().Revoke(access.With(t.Context(), p), p.Name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p, err := n.Keys().Authenticate(n.tokens["expired"]); err == nil {
		<-p.Ended()
	}
	id := core.NewID()
	commit := core.Commit{Appends: []core.Append{{Stream: "order-1", Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "T", Data: []byte("1")}}}}}
	if _, err := n.Store().Append(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	n.event = id.String()
	return n
}

// create makes a key.
func (n *matrixNode) create(t *testing.T, k keys.Key) (token string) {
	t.Helper()
	p, err := n.Keys().Authenticate(n.tokens["admin"])
	if err != nil {
		t.Fatal(err)
	}
	_, token, err = n.Keys().Create(access.With(t.Context(), p), k)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestEveryRouteSaysWhoMay asks for every operation of openapi.json with every key. One without
// a row fails.
func TestEveryRouteSaysWhoMay(t *testing.T) {
	n := newMatrixNode(t)
	for _, operation := range operations(t) {
		may, ok := matrix[operation]
		if !ok {
			t.Errorf("%s has no row: say who may do it", operation)
			continue
		}
		for caller, token := range n.tokens {
			want := allowed(may, caller)
			if status, text := n.call(t, token, operation); want != isAllowed(status, text) || !want && status != denial(caller) {
				t.Errorf("%s by %s: %d %.300s, allowed is %v", operation, caller, status, text, want)
			}
		}
	}
	if len(matrix) != len(operations(t)) {
		t.Errorf("the matrix has %d rows for %d operations", len(matrix), len(operations(t)))
	}
}

// operations are those of openapi.json.
func operations(t *testing.T) (list []string) {
	t.Helper()
	for path, methods := range spectest.Read(t, "../wsapi/docs/openapi.json").Paths {
		for method := range methods {
			list = append(list, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(list)
	return list
}

func allowed(may, caller string) bool {
	switch {
	case may == everybody, caller == "admin":
		return true
	}
	return slices.Contains(strings.Fields(may), caller)
}

// denial is the status of what a caller may not do.
func denial(caller string) int {
	if slices.Contains([]string{"none", "wrong", "expired", "revoked"}, caller) {
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// isAllowed reports whether an answer is none of package access.
func isAllowed(status int, text []byte) bool {
	var e struct{ Code core.Code }
	_ = json.Unmarshal(text, &e) // a page has no code
	denied := status == http.StatusUnauthorized || status == http.StatusForbidden
	return !denied || e.Code != "" && e.Code != core.CodeUnauthenticated && e.Code != core.CodeForbidden
}

// call makes a request of an operation, about order-1 where it is about a stream.
func (n *matrixNode) call(t *testing.T, token, operation string) (int, []byte) {
	t.Helper()
	body := map[string]string{
		"POST /v1/streams/{stream}/events":             `{"type":"T","data":1}`,
		"POST /v1/streams/{stream}/links":              `{"links":["` + n.event + `"]}`,
		"POST /v1/transactions":                        `{"tx":[{"stream":"order-1","events":[{"type":"T","data":1}]}]}`,
		"POST /v1/subscriptions/{subscription}/ack":    `{"lease":1,"upTo":1}`,
		"POST /v1/subscriptions/{subscription}/nack":   `{"lease":1,"positions":[1],"action":"retry"}`,
		"POST /v1/subscriptions/{subscription}/extend": `{"lease":1,"positions":[1],"ms":1}`,
		"PUT /v1/subscriptions/{subscription}":         `{"stream":"order-1"}`,
		"PUT /v1/streams/{stream}/snapshots/{kind}":    `{"version":1,"data":1}`,
		"PUT /v1/streams/{stream}/retention":           `{"maxCount":9}`,
		"PUT /v1/retention/{category}":                 `{"maxCount":9}`,
		"POST /v1/keys":                                `{"role":"admin","note":"by the matrix"}`,
		"POST /v1/session":                             `{"token":"` + n.tokens["admin"] + `"}`,
		"POST /v1/tickets":                             `{"path":"/v1/server"}`,
	}[operation]
	if method, _, _ := strings.Cut(operation, " "); body == "" && (method == http.MethodPost || method == http.MethodPut) {
		body = "{}"
	}
	return n.send(t, token, operation, body)
}

// send makes a request of an operation with a body.
func (n *matrixNode) send(t *testing.T, token, operation, body string) (int, []byte) {
	t.Helper()
	if strings.Contains(operation, "{subscription}") {
		n.subscription(t)
	}
	method, path, _ := strings.Cut(operation, " ")
	path = strings.NewReplacer("{stream}", "order-1", "{id}", n.event, "{subscription}", "orders", "{progress}", "p", "{kind}", "k", "{category}", "order",
		"{plugin}", "none", "{version}", "1", "{binding}", "none", "{key}", "none", "{position}", "1", "{code}", "forbidden").Replace(path)
	if operation == "DELETE /v1/streams/{stream}" {
		path += "?expect=99" // the stream stays
	}
	return as(t, token, method, n.URL()+path, body)
}

// subscription makes the subscription that requests are about, if one of them has deleted it.
func (n *matrixNode) subscription(t *testing.T) {
	t.Helper()
	if status, text := as(t, n.tokens["admin"], "PUT", n.URL()+"/v1/subscriptions/orders", `{"stream":"order-1"}`); status >= 300 {
		t.Fatalf("%d %s", status, text)
	}
}

// TestEveryOpSaysWhoMay sends every op of asyncapi.json with every key. One without a row fails.
func TestEveryOpSaysWhoMay(t *testing.T) {
	n := newMatrixNode(t)
	for _, op := range ops(t) {
		if _, ok := opMatrix[op]; !ok {
			t.Errorf("op %s has no row: say who may do it", op)
		}
	}
	if len(opMatrix) != len(ops(t)) {
		t.Errorf("the matrix has %d rows for %d ops", len(opMatrix), len(ops(t)))
	}
	for caller, token := range n.tokens {
		c := n.dial(t)
		answer := c.say(t, fmt.Sprintf(`{"op":"hello","id":1,"auth":{"token":%q}}`, token))
		if denied := denial(caller) == http.StatusUnauthorized && caller != "admin"; denied != (answer.Error.Code == core.CodeUnauthenticated) {
			t.Errorf("hello by %s: %+v", caller, answer)
		} else if !denied {
			n.sayAll(t, c, caller)
		}
		_ = c.Close()
	}
}

// ops are those that asyncapi.json has for clients.
func ops(t *testing.T) (list []string) {
	t.Helper()
	for _, operation := range spectest.Read(t, "../wsapi/docs/asyncapi.json").Operations {
		if operation.Action == "receive" {
			list = append(list, operation.Names()...)
		}
	}
	return list
}

// sayAll sends the ops with a principal's connection.
func (n *matrixNode) sayAll(t *testing.T, c *wsClient, caller string) {
	messages := map[string]string{
		"append":      `"stream":"order-1","events":[{"type":"T","data":1}]`,
		"read":        `"stream":"order-1"`,
		"stream":      `"stream":"order-1"`,
		"subscribe":   `"sub":1,"stream":"order-1"`,
		"unsubscribe": `"sub":1`,
		"refresh":     `"token":"x"`,
		"ack":         `"sub":9,"upTo":1`,
		"nack":        `"sub":9,"positions":[1],"action":"retry"`,
		"extend":      `"sub":9,"positions":[1],"ms":1`,
		"cluster":     `"about":"status"`,
		"plugin.logs": `"sub":2,"binding":"none"`,

		"retention.get": `"stream":"order-1"`, "retention.put": `"stream":"order-1","maxCount":9`, "retention.clear": `"stream":"order-1"`,
		"retention.getDefault": `"category":"order"`, "retention.putDefault": `"category":"order","maxCount":9`, "retention.clearDefault": `"category":"order"`,
		"snapshot.list":   `"stream":"order-1"`,
		"snapshot.get":    `"stream":"order-1","kind":"k"`,
		"snapshot.put":    `"stream":"order-1","kind":"k","version":1,"data":1`,
		"snapshot.delete": `"stream":"order-1","kind":"k"`,
	}
	for op := range opMatrix {
		if slices.Contains([]string{"hello", "ping", "pong", "credit", "cancel"}, op) {
			continue // hello was said, and nothing answers the others with an error
		}
		message := messages[op]
		if message == "" {
			message = `"binding":"none","plugin":"none","version":"1","key":"none"`
		}
		answer := c.say(t, fmt.Sprintf(`{"op":%q,"id":2,%s}`, op, message))
		if got := answer.Error.Code != core.CodeForbidden; got != allowed(opMatrix[op], caller) {
			t.Errorf("op %s by %s: %+v, allowed is %v", op, caller, answer, !got)
		}
	}
}

// wsClient is a WebSocket connection that takes one answer at a time.
type wsClient struct{ *websocket.Conn }

func (n *matrixNode) dial(t *testing.T) *wsClient {
	t.Helper()
	conn, answer, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(n.URL(), "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return &wsClient{conn}
}

// wsAnswer is an answer, as far as it matters.
type wsAnswer struct {
	Op    string `json:"op"`
	ID    uint64 `json:"id"`
	Error struct {
		Code   core.Code `json:"code"`
		Detail string    `json:"detail"`
	} `json:"error"`
}

// say sends a message and returns the answer to it. Events between them are passed over.
func (c *wsClient) say(t *testing.T, message string) (a wsAnswer) {
	t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatal(err)
	}
	for {
		_, text, err := c.ReadMessage()
		if err != nil {
			t.Fatalf("%s: %v", message, err)
		}
		a = wsAnswer{}
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]string{"ok", "error", "welcome"}, a.Op) {
			return a
		}
	}
}

// TestChangesOfStreamsAreDecidedAlike: who may change a stream may do so by its own route, in a
// transaction and by an append over a WebSocket, and nobody else.
func TestChangesOfStreamsAreDecidedAlike(t *testing.T) {
	n := newMatrixNode(t)
	codeOf := func(text []byte) string {
		var e struct{ Code string }
		if err := json.Unmarshal(text, &e); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		return e.Code
	}
	for name, allowed := range map[string]string{"delete": "operator+ writer+ admin", "remove": "operator+ admin"} {
		path := map[string]string{"delete": "/v1/streams/order-1?expect=99", "remove": "/v1/streams/order-1?hard=true&expect=99"}[name]
		change := `[{"stream":"order-1","action":"` + name + `","expect":99}]` // the stream stays
		for caller, token := range n.tokens {
			if slices.Contains([]string{"none", "wrong", "expired", "revoked"}, caller) {
				continue
			}
			want := string(core.CodeForbidden)
			if slices.Contains(strings.Fields(allowed), caller) {
				want = string(core.CodeWrongExpectedVersion)
			}
			if _, text := as(t, token, "DELETE", n.URL()+path, ""); codeOf(text) != want {
				t.Errorf("%s, %s by its route: %s, want %s", caller, name, text, want)
			}
			if _, text := as(t, token, "POST", n.URL()+"/v1/transactions", `{"streams":`+change+`}`); codeOf(text) != want {
				t.Errorf("%s, %s in a transaction: %s, want %s", caller, name, text, want)
			}
			c := n.dial(t)
			c.say(t, fmt.Sprintf(`{"op":"hello","id":1,"auth":{"token":%q}}`, token))
			if a := c.say(t, `{"op":"append","id":2,"streams":`+change+`}`); string(a.Error.Code) != want {
				t.Errorf("%s, %s over a WebSocket: %+v, want %s", caller, name, a, want)
			}
			_ = c.Close()
		}
	}
}
