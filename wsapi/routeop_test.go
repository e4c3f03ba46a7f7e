package wsapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// shelves is an extension whose routes are ops, too.
func shelves() wsapi.Extension {
	put := func(w http.ResponseWriter, r *http.Request) error {
		var body struct {
			Pages int `json:"pages"`
		}
		ctx, cancel, err := wsapi.Timeout(w, r)
		if err != nil {
			return err
		}
		defer cancel()
		if err := wsapi.ReadJSON(w, r, &body); err != nil {
			return err
		}
		if body.Pages == 0 {
			<-ctx.Done()
			return ctx.Err()
		}
		return wsapi.WriteJSON(w, http.StatusCreated, map[string]any{
			"shelf": r.PathValue("shelf"), "pages": body.Pages, "mark": r.URL.Query().Get("mark"), "path": r.URL.EscapedPath(),
		})
	}
	return wsapi.Extension{Routes: []wsapi.Route{
		{Needs: access.Connect, Method: "POST", Path: "/v1/shelves/{shelf}/books", Query: []string{"mark"}, Op: "shelf.put", Owned: "shelf", Handle: put},
		{Needs: access.Connect, Method: "DELETE", Path: "/v1/shelves/{shelf}", Op: "shelf.drop", Handle: func(w http.ResponseWriter, r *http.Request) error {
			if r.PathValue("shelf") == "none" {
				return core.Errorf(core.CodeNotFound, "there is no shelf %q", "none")
			}
			w.WriteHeader(http.StatusNoContent)
			return nil
		}},
		{Needs: access.Connect, Method: "PUT", Path: "/v1/copies", Handle: func(w http.ResponseWriter, r *http.Request) error {
			ctx, cancel, err := wsapi.Timeout(w, r)
			if err != nil {
				return err
			}
			defer cancel()
			var whole bytes.Buffer
			if _, err := io.Copy(&whole, wsapi.ReadStream(ctx, w, r, 1<<20)); err != nil {
				return err
			}
			return wsapi.CopyStream(w, &whole)
		}},
		{Needs: access.Connect, Method: "GET", Path: "/v1/ticks", Handle: func(w http.ResponseWriter, r *http.Request) error {
			n := 0
			return wsapi.EventStream(w, r, func(context.Context, time.Duration) ([]byte, error) {
				if n++; n == 2 {
					return nil, nil
				}
				if n == 4 {
					return nil, core.Errorf(core.CodeNotFound, "there is no tick %d", n)
				}
				return fmt.Appendf(nil, "data: %d\n\n", n), nil
			})
		}},
	}}
}

func TestRoutesAreOps(t *testing.T) {
	n := newNode(t, wsapi.Config{Extensions: []wsapi.Extension{shelves()}})
	p := n.greeted(wire.JSON)
	p.say(`{"op":"shelf.put","id":2,"shelf":"a/b","mark":7,"pages":3}`)
	if m := p.receive(); m["op"] != "ok" || m["shelf"] != "a/b" || m["pages"] != 3.0 || m["mark"] != "7" || m["id"] != 2.0 {
		t.Errorf("answered %v", m)
	}
	p.say(`{"op":"shelf.drop","id":3,"shelf":"a"}`)
	if m := p.receive(); m["op"] != "ok" || len(m) != 2 {
		t.Errorf("answered %v", m)
	}
	for i, c := range [][2]string{
		{`"op":"shelf.drop","shelf":"none"`, "not_found"},
		{`"op":"shelf.drop"`, "invalid_request"},
		{`"op":"shelf.drop","shelf":{}`, "invalid_request"},
		{`"op":"shelf.put","shelf":"a","pages":1,"colour":"red"`, "invalid_request"},
		{`"op":"shelf.put","shelf":"a","pages":"many"`, "invalid_request"},
		{`"op":"shelf.put","shelf":"a","timeoutMs":1`, "timeout"},
	} {
		p.say(fmt.Sprintf(`{"id":%d,%s}`, 10+i, c[0]))
		p.refused(c[0], float64(10+i), c[1])
	}
}

// elsewhere has everything owned by another node, whose answer it is.
type elsewhere struct {
	status int
	body   string
	names  chan string
}

func (e *elsewhere) Find(_ context.Context, name string, _ bool) (wsapi.Forwarder, error) {
	e.names <- name
	return e, nil
}

func (e *elsewhere) At(string) (wsapi.Forwarder, error) { return e, nil }

func (*elsewhere) Moved(context.Context, *core.Error) error { return errors.New("it has not moved") }

func (e *elsewhere) Forward(_ context.Context, w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if e.body == "" {
		return wsapi.WriteJSON(w, e.status, map[string]string{"got": r.Method + " " + r.URL.RequestURI() + " " + string(body)})
	}
	w.WriteHeader(e.status)
	_, err = io.WriteString(w, e.body)
	return err
}

func TestOpsOfRoutesGoToTheOwner(t *testing.T) {
	owner := &elsewhere{status: 201, names: make(chan string, 8)}
	n := newNode(t, wsapi.Config{Owners: owner, Extensions: []wsapi.Extension{shelves()}})
	p := n.greeted(wire.Bin)
	p.say(`{"op":"shelf.put","id":2,"shelf":"a/b","mark":"x","pages":3}`)
	want := `POST /v1/shelves/a%2Fb/books?mark=x {"pages":3}`
	if m := p.receive(); m["got"] != want || m["op"] != "ok" {
		t.Errorf("answered %v, want %s", m, want)
	}
	if f := n.do("POST", "/v1/shelves/c/books?mark=x", `{"pages":3}`, asJSON).want(t, 201).fields(t); f["got"] != `POST /v1/shelves/c/books?mark=x {"pages":3}` {
		t.Errorf("answered %v", f)
	}
	if a, b := <-owner.names, <-owner.names; a != "a/b" || b != "c" {
		t.Errorf("asked for the owners of %q and %q", a, b)
	}
	owner.status, owner.body = 404, `{"code":"not_found","detail":"there is no shelf"}`
	p.say(`{"op":"shelf.put","id":3,"shelf":"a","pages":3}`)
	p.refused("a problem of the owner", 3, "not_found")
	owner.body = `<html>`
	p.say(`{"op":"shelf.put","id":4,"shelf":"a","pages":3}`)
	p.refused("something else", 4, "internal")
}

func TestLongBodies(t *testing.T) {
	n := newNode(t, wsapi.Config{Extensions: []wsapi.Extension{shelves()}})
	long := strings.Repeat("x", 1<<20)
	if a := n.do("PUT", "/v1/copies", long).want(t, 200); string(a.body) != long {
		t.Errorf("%d bytes came back", len(a.body))
	}
	if f := n.do("PUT", "/v1/copies", long+"x").want(t, 413).fields(t); f["code"] != "body_too_large" || f["limit"] != float64(1<<20) {
		t.Errorf("answered %v", f)
	}
	conn := n.raw("PUT /v1/copies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nGyre-Timeout: 50\r\n\r\nxx")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), `"code":"timeout"`) {
		t.Errorf("a body that does not come is answered %s, %v", answer, err)
	}
}

func TestEventStreams(t *testing.T) {
	n := newNode(t, wsapi.Config{Extensions: []wsapi.Extension{shelves()}})
	a := n.do("GET", "/v1/ticks", "").want(t, 200)
	text := string(a.body)
	if !strings.HasPrefix(text, "retry: 1000\n\ndata: 1\n\n:\n\ndata: 3\n\nevent: end\ndata: ") || !strings.Contains(text, `"not_found"`) {
		t.Errorf("%q", text)
	}
}
