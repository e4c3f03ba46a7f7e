package plugins

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
)

func counterVersion() *Version {
	return &Version{Plugin: "counter", Version: "1.0.0", SHA256: "aa", Manifest: Manifest{
		Name: "counter", Version: "1.0.0", ABI: "gyre_1", Kind: KindHandler, Lanes: 4,
		Capabilities: []string{"state", "append:out-*"}, Limits: Limits{TimeMs: 50},
		Subscription: Input{Stream: "in", PartitionBy: "stream"}, Config: json.RawMessage(`{"n":1}`),
	}}
}

func TestDeployTakesTheManifest(t *testing.T) {
	d := Deploy{Version: "1.0.0"}
	plugin, version, err := d.Which("counter", nil)
	if plugin != "counter" || version != "1.0.0" || err != nil {
		t.Fatal(plugin, version, err)
	}
	b, err := d.Resolve("counter", nil, counterVersion())
	if err != nil {
		t.Fatal(err)
	}
	limits := DefaultLimits()
	limits.TimeMs = 50
	want := Binding{
		Name: "counter", Plugin: "counter", Version: "1.0.0", SHA256: "aa", Kind: KindHandler, Generations: Generations{Generation: 1, FirstGeneration: 1}, Subscription: "counter",
		Input: Input{Stream: "in", PartitionBy: "stream"}, Lanes: 4, Grants: []string{}, Config: json.RawMessage(`{"n":1}`),
		Limits: limits, OnError: DefaultErrorPolicy(),
	}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
}

func TestDeployKeepsWhatItLeavesOut(t *testing.T) {
	first := Deploy{Version: "1.0.0", Grants: []string{"state"}, Config: json.RawMessage(`{"n":2}`), OnError: &ErrorPolicy{Attempts: 2}}
	old, err := first.Resolve("counter", nil, counterVersion())
	if err != nil {
		t.Fatal(err)
	}
	old.Generation = 3
	next := counterVersion()
	next.Version, next.SHA256, next.Manifest.Config = "2.0.0", "bb", json.RawMessage(`{"n":9}`)
	loops := true
	second := Deploy{Version: "2.0.0", Limits: &Limits{TimeMs: 70}, AllowLoops: &loops}
	if plugin, version, err := (&Deploy{Grants: []string{}}).Which("counter", &old); plugin != "counter" || version != "1.0.0" || err != nil {
		t.Error(plugin, version, err)
	}
	b, err := second.Resolve("counter", &old, next)
	if err != nil {
		t.Fatal(err)
	}
	want := old
	want.Version, want.SHA256, want.Limits, want.AllowLoops = "2.0.0", "bb", (&Limits{TimeMs: 70}).OrDefaults(), true
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
	if b, err = (&Deploy{Grants: []string{}}).Resolve("counter", &old, counterVersion()); err != nil || len(b.Grants) != 0 {
		t.Errorf("an empty list of grants leaves %v, %v", b.Grants, err)
	}
}

func TestBadDeploys(t *testing.T) {
	old, err := (&Deploy{Version: "1.0.0"}).Resolve("counter", nil, counterVersion())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"lanes":2}`:                           "cannot change",
		`{"input":{"stream":"other"}}`:          "cannot change",
		`{"grants":["files"]}`:                  `grants: capability "files"`,
		`{"grants":["state","state"]}`:          "grants: ",
		`{"config":[1]}`:                        "config is an object",
		`{"limits":{"timeMs":99000}}`:           "limits.timeMs is 99000",
		`{"onError":{"attempts":-1}}`:           "onError.attempts is -1",
		`{"onError":{"then":"explode"}}`:        `onError.then is "explode"`,
		`{"onError":{"minMs":50000,"maxMs":2}}`: "onError waits from 50000 to 2 ms",
	} {
		var d Deploy
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Resolve("counter", &old, counterVersion()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"lanes":65}`: "lanes is 65", `{"input":{}}`: "needs an input.partitionBy", `{"input":{"stream":".."}}`: "input: ",
	} {
		var d Deploy
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Resolve("counter", nil, counterVersion()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, new: %v, want %q", text, err, want)
		}
	}
	large := counterVersion()
	large.Report.MemoryBytes = 2 << 20
	if _, err := (&Deploy{Limits: &Limits{MemoryBytes: 2<<20 - 1}}).Resolve("c", nil, large); err == nil || !strings.Contains(err.Error(), "limits.memoryBytes is 2097151, the module") {
		t.Errorf("less memory than the module starts with: %v", err)
	}
	if _, err := (&Deploy{Limits: &Limits{MemoryBytes: 2 << 20}}).Resolve("c", nil, large); err != nil {
		t.Error(err)
	}
	projection := counterVersion()
	projection.Manifest.Kind = KindProjection
	if _, err := (&Deploy{Grants: []string{"append:a"}}).Resolve("c", nil, projection); err == nil || !strings.Contains(err.Error(), "a projection appends nothing") {
		t.Error(err)
	}
	validator := counterVersion()
	validator.Manifest.Kind, validator.Manifest.Subscription = KindValidate, Input{Filter: subscriptions.Filter{Streams: []string{"in"}}}
	for _, policy := range []ErrorPolicy{{Attempts: 2}, {Attempts: -1}, {MinMs: 5}, {MaxMs: 5}} {
		if _, err := (&Deploy{OnError: &policy}).Resolve("c", nil, validator); err == nil || !strings.Contains(err.Error(), "a validator is asked once") {
			t.Errorf("%+v of a validator: %v", policy, err)
		}
	}
	if b, err := (&Deploy{OnError: &ErrorPolicy{Attempts: 1, Then: ThenAccept}}).Resolve("c", nil, validator); err != nil || b.OnError.Then != ThenAccept {
		t.Error(b.OnError, err)
	}
	for name, d := range map[string]Deploy{"Bad": {Version: "1"}, "fine": {}} {
		if _, _, err := d.Which(name, nil); !errors.Is(err, core.CodeInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := (&Deploy{}).Which("counter", nil); err == nil || !strings.Contains(err.Error(), `no plugin is deployed as "counter"`) {
		t.Errorf("a binding that is not there: %v", err)
	}
	if _, _, err := (&Deploy{Plugin: "other"}).Which("counter", &old); err == nil || !strings.Contains(err.Error(), `which version of plugin "other"`) {
		t.Errorf("another plugin without a version: %v", err)
	}
}

func TestEntriesInJSON(t *testing.T) {
	for _, e := range []Entry{{Lane: 1, Key: "a", Value: []byte(`{"n":1}`)}, {Key: "b", Value: []byte{0xff}}, {Key: "c", Value: []byte{}}} {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var again Entry
		if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(e, again) {
			t.Errorf("%s: %+v, %v", text, again, err)
		}
	}
	for _, text := range []string{`{"key":"a"}`, `{"key":"a","value":1,"valueBase64":""}`, `{"key":"a","valueBase64":"?"}`} {
		if err := json.Unmarshal([]byte(text), new(Entry)); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}

// TestFormerGrants: what a generation was granted to read, and is not any more, is noted until it is
// granted again.
func TestFormerGrants(t *testing.T) {
	b, err := (&Deploy{Version: "1.0.0"}).Resolve("counter", nil, counterVersion())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ grants, former []string }{
		{[]string{"state", "append:out-1", "streams.read", "secret:KEY", "http:example.com:443/private"}, nil},
		{[]string{"state", "streams.read:in-*", "http:example.com:443"}, []string{"streams.read", "secret:KEY"}},
		{[]string{"streams.read:in-1", "secret:KEY"}, []string{"streams.read", "streams.read:in-*", "http:example.com:443"}},
		{[]string{"streams.read", "http:example.com:443/private"}, []string{"secret:KEY"}},
	} {
		if b, err = (&Deploy{Grants: step.grants}).Resolve("counter", &b, counterVersion()); err != nil || !reflect.DeepEqual(b.FormerGrants, step.former) || !reflect.DeepEqual(b.Grants, step.grants) {
			t.Fatalf("with %q: %q, %v; want %q", step.grants, b.FormerGrants, err, step.former)
		}
	}
	if b, err = (&Deploy{Version: "1.0.0"}).Resolve("counter", &b, counterVersion()); err != nil || len(b.FormerGrants) != 1 {
		t.Errorf("a deploy without grants leaves %q, %v", b.FormerGrants, err)
	}
	for i := range maxCapabilities + 1 {
		if _, err = (&Deploy{Grants: []string{fmt.Sprintf("secret:S%d", i)}}).Resolve("counter", &b, counterVersion()); err != nil {
			break
		}
		b.Grants = []string{fmt.Sprintf("secret:S%d", i)}
		if err = b.Regrant([]string{}); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "gyre plugin rebuild") {
		t.Errorf("more than are kept: %v", err)
	}
}

// TestCommandsAreGrantedWhatTheyCanUse: a command appends and writes state, and is granted nothing else,
// also where a module that could use it was granted it before.
func TestCommandsAreGrantedWhatTheyCanUse(t *testing.T) {
	command := counterVersion()
	command.Version, command.Manifest.ABI = "2.0.0", "stdio_1"
	if _, err := (&Deploy{Grants: []string{"state", "append:out-*"}}).Resolve("counter", nil, command); err != nil {
		t.Error(err)
	}
	for _, grant := range []string{"http:api.example.com:443", "secret:KEY", "streams.read:in"} {
		given := &Deploy{Grants: []string{"state", grant}}
		old, err := given.Resolve("counter", nil, counterVersion())
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []*Deploy{given, {}} {
			if _, err := d.Resolve("counter", &old, command); !errors.Is(err, core.CodeInvalidRequest) || !strings.Contains(err.Error(), "can do nothing with "+grant) {
				t.Errorf("%s with %v: %v", grant, d.Grants, err)
			}
		}
	}
}
