package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// TestReasonsAreForWhoMayRead: what a handler says of its failure may have what is in an event. Who
// may not read that sees that there is a reason.
func TestReasonsAreForWhoMayRead(t *testing.T) {
	const secret = "what is in an event"
	for _, c := range []struct {
		p    access.Principal
		sees bool
	}{
		{access.Principal{Role: access.Admin}, true},
		{access.Principal{Role: access.Operator, Streams: []string{"order-*"}}, true},
		{access.Principal{Role: access.Operator, Streams: []string{"other-*"}}, false},
		{access.Principal{Role: access.Operator}, false},
	} {
		s := plugins.Status{State: plugins.Stopped, Reason: secret, LaneStatus: []plugins.LaneStatus{{Lane: 1, Reason: secret}, {Lane: 2}}}
		s.Input = plugins.Input{Stream: "order-1", Filter: subscriptions.Filter{Streams: []string{"order-*"}}}
		s.Stopped, s.Beside, s.Shadow = secret, &plugins.Beside{Reason: secret}, &plugins.ShadowStatus{Ended: secret, Why: secret}
		show(&c.p, &s)
		text, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]int{true: 6, false: 0}[c.sees]
		if strings.Count(string(text), secret) != want || strings.Count(string(text), notShown) != 6-want {
			t.Errorf("%s %v sees %s", c.p.Role, c.p.Streams, text)
		}
	}
}

// That a validator is paused says the node, to everybody who sees it.
func TestPauseIsShown(t *testing.T) {
	for state, want := range map[plugins.State]string{plugins.Paused: "not in force", plugins.Broken: notShown} {
		s := plugins.Status{State: state, Reason: "not in force"}
		s.Kind, s.Input.Filter.Streams = plugins.KindValidate, []string{"order-*"}
		show(&access.Principal{Role: access.Operator, Streams: []string{"other-*"}}, &s)
		if s.Reason != want {
			t.Errorf("%s: %s", state, s.Reason)
		}
	}
}
