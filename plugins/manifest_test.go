package plugins

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins/abi"
)

const least = `{"name":"counter","version":"0.1.0","abi":"gyre_1","kind":"projection"}`

// with is the least manifest with more members.
func with(members string) string { return strings.TrimSuffix(least, "}") + "," + members + "}" }

// command is the manifest of a command with more members.
func command(members string) string {
	return `{"name":"lines","version":"0.1.0","abi":"stdio_1",` + members + "}"
}

func TestManifestOfACommand(t *testing.T) {
	m, err := DecodeManifest([]byte(command(`"kind":"handler","capabilities":["append:bill-*","state"]`)))
	if err != nil || m.Entry() != abi.Main {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestManifestHasDefaults(t *testing.T) {
	m, err := DecodeManifest([]byte(least))
	if err != nil {
		t.Fatal(err)
	}
	want := &Manifest{Name: "counter", Version: "0.1.0", ABI: abi.Module, Kind: KindProjection}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v, want %+v", m, want)
	}
	if limits := m.Limits.OrDefaults(); limits != DefaultLimits() {
		t.Errorf("the default limits are %+v", limits)
	}
	d, err := m.Subscription.Definition()
	if err != nil || !reflect.DeepEqual(d, subscriptions.DefaultDefinition()) {
		t.Errorf("the default input is %+v, %v", d, err)
	}
}

func TestManifestIsReadAsWritten(t *testing.T) {
	text, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := DecodeManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	capabilities, err := ParseCapabilities(m.Capabilities)
	if err != nil {
		t.Fatal(err)
	}
	for kind, name := range map[CapabilityKind]string{
		CanAppend: "order-7", CanUseState: "", CanReadStreams: "anything", CanCallHTTP: "api.example.com:443", CanReadSecret: "API_KEY",
	} {
		if !capabilities.Allow(kind, name) {
			t.Errorf("%s of %q is not allowed by %v", kind, name, capabilities)
		}
	}
	for kind, name := range map[CapabilityKind]string{CanAppend: "invoice-7", CanCallHTTP: "api.example.com:80", CanReadSecret: "API_KE"} {
		if capabilities.Allow(kind, name) {
			t.Errorf("%s of %q is allowed by %v", kind, name, capabilities)
		}
	}
	if limits := m.Limits.OrDefaults(); limits.MemoryBytes != 32<<20 || limits.Fuel != DefaultLimits().Fuel || m.Lanes != 4 {
		t.Errorf("limits %+v, %d lanes", limits, m.Lanes)
	}
	d, err := m.Subscription.Definition()
	if err != nil || d.From.Kind != core.FromEnd || d.PartitionBy != subscriptions.ByStream || d.Filter.Types[0] != "OrderPaid" {
		t.Errorf("the definition is %+v, %v", d, err)
	}
	written, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeManifest(written)
	if err != nil {
		t.Fatal(err)
	}
	// Raw members keep their spaces.
	var a, b any
	first, _ := json.Marshal(m)
	second, _ := json.Marshal(again)
	if json.Unmarshal(first, &a) != nil || json.Unmarshal(second, &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("written again it is %s, it was %s", second, first)
	}
}

func TestBadManifests(t *testing.T) {
	for text, want := range map[string]string{
		``:                             "not one JSON object",
		`[]`:                           "the manifest",
		`{}`:                           "name:",
		least + least:                  "not one JSON object",
		with(`"name":"x"`):             "name",
		command(`"kind":"projection"`): "kind: a command of abi stdio_1 is a handler, and not a projection; gyre_1 has all kinds",
		command(`"kind":"validate"`):   "kind: a command of abi stdio_1 is a handler, and not a validator",
		command(`"kind":"handler","capabilities":["state","secret:A"]`): "capabilities: a command of abi stdio_1 appends and writes state, and can do nothing with secret:A; gyre_1 can",
		with(`"colour":"red"`):                                                       "/colour: there is no such member",
		with(`"limits":{"cpu":1}`):                                                   "/limits/cpu: there is no such member",
		with(`"subscription":{"strem":"a"}`):                                         "/subscription/strem: there is no such member",
		strings.Replace(least, "counter", "Counter", 1):                              `name: "Counter"`,
		strings.Replace(least, "counter", "../x", 1):                                 `name: "../x"`,
		strings.Replace(least, "counter", strings.Repeat("x", 64), 1):                "name: ",
		strings.Replace(least, "0.1.0", "", 1):                                       "version: ",
		strings.Replace(least, "0.1.0", "a b", 1):                                    `version: "a b"`,
		strings.Replace(least, "gyre_1", "gyre_2", 1):                                `abi: "gyre_2" is not supported, this version has gyre_1 and stdio_1`,
		strings.Replace(least, "projection", "worker", 1):                            `kind: "worker" is none of handler, projection, filter, map, partition, validate`,
		strings.Replace(with(`"capabilities":["state"]`), "projection", "filter", 1): "capabilities: a filter judges events and has no effects, so it needs none, and state is asked for",
		strings.Replace(with(`"lanes":2`), "projection", "map", 1):                   "lanes is 2: a map judges events for others, and has no lanes",
		with(`"capabilities":["append:a-*"]`):                                        "kind: a projection appends nothing, and append:a-* is asked for",
		with(`"capabilities":["state","state"]`):                                     `capabilities: "state" is there twice`,
		with(`"capabilities":["files"]`):                                             `capabilities: capability "files" is none of`,
		with(`"capabilities":["append"]`):                                            "needs a pattern of streams",
		with(`"capabilities":["http:example.com"]`):                                  "needs a host and a port",
		with(`"capabilities":["http:*:443"]`):                                        "needs a host and a port",
		with(`"capabilities":["secret:"]`):                                           "needs the name of a secret",
		with(`"limits":{"memoryBytes":536870913}`):                                   "limits.memoryBytes is 536870913, it may be from 1 to 536870912",
		with(`"limits":{"timeMs":40000}`):                                            "limits.timeMs is 40000",
		with(`"limits":{"fuel":"much"}`):                                             "/limits/fuel has a value of another type there",
		with(`"limits":{"fuel":99999999999999999999}`):                               "/limits/fuel cannot be 99999999999999999999",
		with(`"limits":{"fuel":-1}`):                                                 "limits.fuel is -1",
		with(`"limits":{"memoryBytes":18446744073709551615}`):                        "limits.memoryBytes is ",
		with(`"lanes":65,"subscription":{"partitionBy":"stream"}`):                   "lanes is 65, it may be from 1 to 64",
		with(`"lanes":2`):                                                            "lanes is 2, which needs a subscription.partitionBy",
		with(`"subscription":{"stream":".."}`):                                       "subscription: ",
		with(`"subscription":{"from":"yesterday"}`):                                  "subscription: ",
		with(`"subscription":{"partitionBy":"colour"}`):                              `subscription: partitionBy is "colour"`,
		with(`"config":[1]`):                                                         "config: it is an object",
		with(`"configSchema":true`):                                                  "configSchema: it is an object",
		with(`"build":["cargo","build"]`):                                            "build: it is a command, and module is the file",
		with(`"sdk":"a\nb"`):                                                         "sdk: it is one line",
		with(`"description":"` + strings.Repeat("x", 1025) + `"`):                    "description: it is one line",
		with(`"description":"` + strings.Repeat("x", 65<<10) + `"`):                  "at most 65536 are allowed",
		with(`"config":{"a":1,"a":2}`):                                               "not one JSON object",
		with(`"build":[` + strings.Repeat(`"x",`, 64) + `"x"]`):                      "build: 65 words",
		with(`"test":[""]`):                                                          "test: it is a command, and its first word is empty",
		with(`"test":["` + strings.Repeat("x", 2000) + `"]`):                         "test: a word has 2000 bytes",
		with(`"build":["` + strings.Repeat("x", 2000) + `"]`):                        "build: a word has 2000 bytes",
		with(`"capabilities":[` + strings.Repeat(`"append:a",`, 64) + `"append:b"]`): "kind: a projection",
	} {
		_, err := DecodeManifest([]byte(text))
		if !errors.Is(err, core.CodeInvalidManifest) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v, want %q", text, err, want)
		}
	}
}

// What is accepted is valid, small, and read again as it was written.
func FuzzDecodeManifest(f *testing.F) {
	text, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(least))
	f.Add([]byte(with(`"limits":{"fuel":1},"config":{"a":[1,2]}`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := DecodeManifest(text)
		if err != nil {
			if !errors.Is(err, core.CodeInvalidManifest) || len(err.Error()) > 2*maxDetailBytes {
				t.Fatalf("%v", err)
			}
			return
		}
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		written, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeManifest(written)
		if len(written) > abi.MaxManifestBytes {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if twice, err := json.Marshal(again); err != nil || string(twice) != string(written) {
			t.Fatalf("%s was written as %s, %v", written, twice, err)
		}
	})
}
