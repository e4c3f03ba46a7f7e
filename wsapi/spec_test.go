package wsapi

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/spectest"
	"github.com/gyre-events/gyre/wsapi/wire"
)

var update = flag.Bool("update", false, "write the catalogue's codes into the API descriptions")

func TestOpenAPIHasTheRoutes(t *testing.T) {
	doc := spectest.Read(t, "docs/openapi.json")
	var code []string
	for _, r := range new(API).routes() {
		code = append(code, r.Method+" "+r.Path)
		doc.Parameters(t, r.Method, r.Path, r.Query)
	}
	its := func(path string) bool {
		switch first, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/"); first {
		case "plugins", "keys", "principal", "types", "categories", "config", "scavenge", "backup":
			return false // plugins/api, access/api, census/api, scavenge/api and runtime have tests of those
		}
		return true
	}
	doc.Routes(t, code, its)
	ids := map[string]bool{}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			if its(path) && (o.OperationID == "" || ids[o.OperationID]) {
				t.Errorf("%s %s: operation id %q is none or not unique", method, path, o.OperationID)
			}
			ids[o.OperationID] = true
		}
	}
}

func TestOpenAPIHasTheBodies(t *testing.T) {
	doc := spectest.Read(t, "docs/openapi.json")
	doc.Bodies(t, map[string]reflect.Type{
		"NewEvent":    reflect.TypeFor[wire.Event](),
		"Error":       reflect.TypeFor[wire.Error](),
		"Problem":     reflect.TypeFor[problem](),
		"Element":     reflect.TypeFor[wire.Element](),
		"Check":       reflect.TypeFor[wire.Check](),
		"Appended":    reflect.TypeFor[wire.Appended](),
		"Transaction": reflect.TypeFor[wire.Transaction](),
		"Links":       reflect.TypeFor[linksBody](),
		"Streams":     reflect.TypeFor[wire.StreamsPage](),
		"Stream":      reflect.TypeFor[wire.Stream](),
		"StreamPlace": reflect.TypeFor[wire.StreamPlace](),

		"Progress":     reflect.TypeFor[wire.Progress](),
		"ProgressInfo": reflect.TypeFor[wire.ProgressInfo](),
		"ProgressPage": reflect.TypeFor[progressPage](),

		"Snapshot":      reflect.TypeFor[wire.Snapshot](),
		"SnapshotState": reflect.TypeFor[wire.SnapshotState](),
		"SnapshotPut":   reflect.TypeFor[wire.SnapshotPut](),
		"SnapshotInfo":  reflect.TypeFor[wire.SnapshotInfo](),
		"SnapshotsPage": reflect.TypeFor[wire.SnapshotsPage](),

		"Retention":       reflect.TypeFor[wire.Retention](),
		"RetentionPolicy": reflect.TypeFor[wire.RetentionPolicy](),
		"RetentionPage":   reflect.TypeFor[wire.RetentionPage](),

		"Server": reflect.TypeFor[serverInfo](),

		"Stats":             reflect.TypeFor[wire.Stats](),
		"LogStats":          reflect.TypeFor[wire.LogStats](),
		"AppendStats":       reflect.TypeFor[wire.AppendStats](),
		"Histogram":         reflect.TypeFor[wire.Histogram](),
		"Bucket":            reflect.TypeFor[wire.Bucket](),
		"ReadStats":         reflect.TypeFor[wire.ReadStats](),
		"StoreStats":        reflect.TypeFor[wire.StoreStats](),
		"ConnectionStats":   reflect.TypeFor[wire.ConnectionStats](),
		"HTTPStats":         reflect.TypeFor[wire.HTTPStats](),
		"ProcessStats":      reflect.TypeFor[wire.ProcessStats](),
		"StorageStats":      reflect.TypeFor[wire.StorageStats](),
		"SubscriptionStats": reflect.TypeFor[wire.SubscriptionStats](),
		"PluginStats":       reflect.TypeFor[wire.PluginStats](),
		"Setting":           reflect.TypeFor[wire.Setting](),
		"Settings":          reflect.TypeFor[wire.Settings](),

		"TicketRequest": reflect.TypeFor[ticketBody](),
		"Ticket":        reflect.TypeFor[madeTicket](),

		"RingMember":  reflect.TypeFor[ring.Member](),
		"RingView":    reflect.TypeFor[ring.View](),
		"RingViews":   reflect.TypeFor[ringViews](),
		"RingSeen":    reflect.TypeFor[ring.Seen](),
		"RingMembers": reflect.TypeFor[ring.MemberList](),
		"RingStatus":  reflect.TypeFor[ring.Status](),
		"Owned":       reflect.TypeFor[ring.Owned](),
		"OwnedPage":   reflect.TypeFor[ring.OwnedPage](),
		"Whereabouts": reflect.TypeFor[ring.Whereabouts](),

		"Definition":    reflect.TypeFor[subscriptions.Definition](),
		"Subscription":  reflect.TypeFor[subscriptions.Info](),
		"Subscriber":    reflect.TypeFor[subscriptions.SubscriberInfo](),
		"Subscriptions": reflect.TypeFor[subscriptionsPage](),
		"ParkedPage":    reflect.TypeFor[parkedPage](),
		"Parked":        reflect.TypeFor[parkedEvent](),
		"Failure":       reflect.TypeFor[failure](),
		"Selection":     reflect.TypeFor[selection](),
		"Counted":       reflect.TypeFor[counted](),
		"Reset":         reflect.TypeFor[resetBody](),
		"Fetch":         reflect.TypeFor[fetchBody](),
		"AckFetched":    reflect.TypeFor[ackBody](),
		"NackFetched":   reflect.TypeFor[nackBody](),
		"ExtendFetched": reflect.TypeFor[extendBody](),
	})
}

// TestDescriptionsAgree: what a subscription is made with is the same over HTTP and on a
// WebSocket.
func TestDescriptionsAgree(t *testing.T) {
	var schemas [2]map[string]any
	for i, text := range [][]byte{openAPI, asyncAPI} {
		var doc struct {
			Components struct {
				Schemas map[string]any `json:"schemas"`
			} `json:"components"`
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		schemas[i] = doc.Components.Schemas
	}
	for _, name := range []string{"Definition", "Place"} {
		if schemas[0][name] == nil || !reflect.DeepEqual(schemas[0][name], schemas[1][name]) {
			t.Errorf("%s of openapi.json and of asyncapi.json differ", name)
		}
	}
}

// TestDescriptionsHaveTheCodes holds the enum of error codes to the catalogue. After
// a change there: go test ./wsapi -run Codes -update
func TestDescriptionsHaveTheCodes(t *testing.T) {
	for file, text := range map[string][]byte{"docs/openapi.json": openAPI, "docs/asyncapi.json": asyncAPI} {
		if *update {
			text = withCodes(t, text)
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var codes []core.Code
		for _, c := range spectest.Read(t, file).Components.Schemas["ErrorCode"].Enum {
			codes = append(codes, core.Code(c))
		}
		if !slices.Equal(codes, core.Codes()) {
			t.Errorf("%s: ErrorCode is not core's catalogue; run go test ./wsapi -run Codes -update", file)
		}
	}
}

// withCodes puts the catalogue's codes in place of the enum.
func withCodes(t *testing.T, text []byte) []byte {
	enum := regexp.MustCompile(`(?s)("ErrorCode": \{\s*"type": "string",\s*"enum": \[\n)(\s*)[^\]]*?(\n\s*\])`)
	m := enum.FindSubmatchIndex(text)
	if m == nil {
		t.Fatal("no ErrorCode enum")
	}
	var lines []string
	for _, c := range core.Codes() {
		lines = append(lines, string(text[m[4]:m[5]])+`"`+string(c)+`"`)
	}
	return slices.Concat(text[:m[3]], []byte(strings.Join(lines, ",\n")), text[m[6]:])
}
