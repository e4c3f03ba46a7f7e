package wsapi_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// acts keep what is recorded.
type acts struct {
	mu   sync.Mutex
	list []string
}

func (a *acts) Record(ctx context.Context, act wsapi.Act) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	host, _, _ := net.SplitHostPort(string(access.AddressOf(ctx)))
	a.list = append(a.list, fmt.Sprint(access.Of(ctx).Name, " ", act.Kind, " ", act.Target, " ", act.Outcome, " with ", act.Detail, " from ", host))
	return nil
}

// TestTheAuditHasWhatWasDone, or may have been: who, to what, and from which address, over HTTP
// and over a WebSocket.
func TestTheAuditHasWhatWasDone(t *testing.T) {
	audit := &acts{}
	paint := wsapi.Extension{Routes: []wsapi.Route{{
		Method: "PUT", Path: "/v1/doors/{door}", Op: "door.paint", Needs: access.SteerCluster, Audit: "DoorPainted", AuditOnly: http.StatusCreated,
		Handle: func(w http.ResponseWriter, r *http.Request) error {
			wsapi.AuditDetail(w, "a brush")
			switch r.PathValue("door") {
			case "none":
				return core.Errorf(core.CodeNotFound, "there is no such door")
			case "far":
				return core.Errorf(core.CodeUnknownOutcome, "the painter does not answer")
			case "painted":
				w.WriteHeader(http.StatusOK)
				return nil
			}
			w.WriteHeader(http.StatusCreated)
			return nil
		},
	}}}
	n := newNode(t, wsapi.Config{Access: testKeys(), Audit: audit, Extensions: []wsapi.Extension{paint}})
	const asOperator = "Authorization: Bearer operator-key"
	for door, status := range map[string]int{"front": 201, "painted": 200, "none": 404, "far": 503} {
		n.do("PUT", "/v1/doors/"+door, "", asOperator).want(t, status)
	}
	n.do("PUT", "/v1/doors/front", "", asReader).want(t, 403)
	p := n.connect()
	p.say(`{"op":"hello","id":1,"auth":{"token":"operator-key"}}`)
	p.receive()
	p.say(`{"op":"door.paint","id":2,"door":"back"}`)
	p.receive()
	p.say(`{"op":"door.paint","id":3,"door":"far"}`)
	p.receive()
	want := []string{
		"o1 DoorPainted back  with a brush from 127.0.0.1", "o1 DoorPainted far unknown_outcome with a brush from 127.0.0.1",
		"o1 DoorPainted far unknown_outcome with a brush from 127.0.0.1", "o1 DoorPainted front  with a brush from 127.0.0.1",
	}
	audit.mu.Lock()
	defer audit.mu.Unlock()
	if slices.Sort(audit.list); !slices.Equal(audit.list, want) {
		t.Errorf("the audit has %q, want %q", audit.list, want)
	}
}
