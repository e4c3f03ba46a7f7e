package runtime_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
)

// askable has for each action what is asked about it, and an operation that does it.
var askable = map[access.Action]struct{ target, subscription, operation string }{
	access.Append:             {"order-1", "", "POST /v1/streams/{stream}/events"},
	access.Read:               {"order-1", "", "GET /v1/streams/{stream}/events"},
	access.SetRetention:       {"order-1", "", "PUT /v1/streams/{stream}/retention"},
	access.DeleteStreams:      {"order-1", "", "POST /v1/streams/{stream}/undelete"},
	access.RemoveStreams:      {"order-1", "", "DELETE /v1/streams/{stream}?hard=true&expect=99"},
	access.Consume:            {"order-1", "orders", "POST /v1/subscriptions/{subscription}/fetch"},
	access.Progress:           {"p", "", "GET /v1/progress/{progress}"},
	access.DeleteProgress:     {"p", "", "DELETE /v1/progress/{progress}"},
	access.ListStreams:        {"", "", "GET /v1/streams"},
	access.SeeSubscriptions:   {"", "", "GET /v1/subscriptions"},
	access.SteerSubscriptions: {"orders", "", "POST /v1/subscriptions/{subscription}/pause"},
	access.SeePlugins:         {"", "", "GET /v1/plugins"},
	access.UploadPlugins:      {"none", "", "DELETE /v1/plugins/{plugin}/versions/{version}"},
	access.DeployPlugins:      {"none", "", "POST /v1/plugins/{binding}/deploy"},
	access.Grant:              {"", "", ""}, // a part of deploy: access.TestAnswersAboutGrants
	access.SteerPlugins:       {"none", "", "POST /v1/plugins/{binding}/pause"},
	access.SeePluginState:     {"", "", "GET /v1/plugins/{binding}/state"},
	access.SeeCluster:         {"", "", "GET /v1/cluster/status"},
	access.SteerCluster:       {"", "", "POST /v1/cluster/undrain"},
	access.Scavenge:           {"", "", "GET /v1/scavenge"},
	access.Backup:             {"", "", "GET /v1/backup"},
	access.SeeServer:          {"", "", "GET /v1/server"},
	access.SeeMetrics:         {"", "", "GET /metrics"},
	access.ManageKeys:         {"", "", "GET /v1/keys"},
	access.Connect:            {"", "", "GET /v1/principal"},
	access.Open:               {"", "", "GET /livez"},
}

// TestCanISaysWhatTheOperationDoes: for every action, role, and grant of streams and names.
func TestCanISaysWhatTheOperationDoes(t *testing.T) {
	n := newMatrixNode(t)
	for _, role := range access.Roles() {
		for _, streams := range [][]string{nil, {"order-*"}, {"other-*"}, {"$all"}} {
			for _, names := range [][]string{nil, {"orders", "p", "none"}, {"another"}} {
				k := keys.Key{Role: role, Streams: streams, Names: names}
				if role == access.Admin && len(streams)+len(names) > 0 || (role == access.Writer || role == access.Reader) && len(streams) == 0 {
					continue // no such key
				}
				token := n.create(t, k)
				for _, action := range access.Actions() {
					n.compare(t, k, token, action)
				}
			}
		}
	}
}

// compare asks about an action, and does it.
func (n *matrixNode) compare(t *testing.T, k keys.Key, token string, action access.Action) {
	t.Helper()
	about, ok := askable[action]
	if !ok {
		t.Fatalf("%s has no row: say what does it", action)
	}
	query := url.Values{"action": {string(action)}}
	if about.target != "" {
		query.Set("target", about.target)
	}
	if about.subscription != "" {
		query.Set("subscription", about.subscription)
	}
	status, text := as(t, token, "GET", n.URL()+"/v1/principal?"+query.Encode(), "")
	var answer struct{ Allowed *bool }
	if err := json.Unmarshal(text, &answer); err != nil || status != http.StatusOK || answer.Allowed == nil {
		t.Fatalf("%s: %d %s, %v", query.Encode(), status, text, err)
	}
	if about.operation == "" {
		return
	}
	status, done := n.call(t, token, about.operation)
	if isAllowed(status, done) != *answer.Allowed {
		t.Errorf("%s %v %v: can-i says %s, %s answers %d %.200s", k.Role, k.Streams, k.Names, text, about.operation, status, done)
	}
}

// TestQuestionsWithoutAnAnswer: a target that an action has not would be ignored.
func TestQuestionsWithoutAnAnswer(t *testing.T) {
	n := newMatrixNode(t)
	for _, query := range []string{"action=fly", "action=cluster.see&target=x", "action=read&target=order-1&subscription=x", "action=append&nothing=1"} {
		for _, caller := range []string{"admin", "reader+"} {
			if status, text := as(t, n.tokens[caller], "GET", n.URL()+"/v1/principal?"+query, ""); status != http.StatusBadRequest {
				t.Errorf("%s by %s: %d %s", query, caller, status, text)
			}
		}
	}
	for query, want := range map[string]bool{
		"action=consume&target=order-1": true, "action=consume": true, "action=read": true, "action=append": false, "action=read&target=$audit": false,
	} {
		_, text := as(t, n.tokens["reader+"], "GET", n.URL()+"/v1/principal?"+query, "")
		if got := fmt.Sprintf(`"allowed":%t`, want); !strings.Contains(string(text), got) {
			t.Errorf("%s: %s, want %s", query, text, got)
		}
	}
	for _, stream := range []string{"$audit", "$all", "."} {
		_, text := as(t, n.tokens["admin"], "GET", n.URL()+"/v1/principal?action=append&target="+url.QueryEscape(stream), "")
		status, done := as(t, n.tokens["admin"], "POST", n.URL()+"/v1/streams/"+url.PathEscape(stream)+"/events", `[{"type":"T","data":1}]`)
		if !strings.Contains(string(text), `"allowed":false`) || !strings.Contains(string(text), stream) || status/100 != 4 {
			t.Errorf("an admin who appends to %s is answered %d %s, can-i says %s", stream, status, done, text)
		}
	}
	for _, stream := range []string{"$audit", "$all"} {
		for caller, token := range n.tokens {
			_, text := as(t, token, "GET", n.URL()+"/v1/principal?action=streams.delete&target="+url.QueryEscape(stream), "")
			if status, done := as(t, token, "DELETE", n.URL()+"/v1/streams/"+url.PathEscape(stream), ""); status/100 != 4 || strings.Contains(string(text), `"allowed":true`) {
				t.Errorf("%s, who deletes %s, is answered %d %s, can-i says %s", caller, stream, status, done, text)
			}
		}
	}
	if _, text := as(t, n.tokens["operator"], "GET", n.URL()+"/v1/principal?action=read", ""); !strings.Contains(string(text), `"allowed":false`) {
		t.Errorf("an operator that is granted no stream reads some: %s", text)
	}
}
