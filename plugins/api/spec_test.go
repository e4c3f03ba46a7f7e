package api

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
)

// document is what a test looks at of openapi.json, or of asyncapi.json.
type document struct {
	Paths map[string]map[string]struct {
		Parameters []struct{ Name, In string }
	}
	Operations map[string]struct {
		Messages []struct {
			Ref string `json:"$ref"`
		}
	}
	Components struct {
		Schemas map[string]struct{ Properties map[string]json.RawMessage }
	}
}

func description(t *testing.T, name string) (d document) {
	t.Helper()
	text, err := os.ReadFile("../../wsapi/docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	doc := description(t, "openapi.json")
	wildcard := regexp.MustCompile(`\{(\w+)\}`)
	code, documented := []string{}, []string{}
	routes := (&api{Config{Bindings: (*host.Host)(nil)}}).routes()
	for _, r := range routes {
		code = append(code, r.Method+" "+r.Path)
		var query, inPath, wildcards []string
		for _, p := range doc.Paths[r.Path][strings.ToLower(r.Method)].Parameters {
			switch p.In {
			case "query":
				query = append(query, p.Name)
			case "path":
				inPath = append(inPath, p.Name)
			}
		}
		for _, m := range wildcard.FindAllStringSubmatch(r.Path, -1) {
			wildcards = append(wildcards, m[1])
		}
		known := slices.Sorted(slices.Values(r.Query))
		slices.Sort(query)
		if !slices.Equal(known, query) || !slices.Equal(wildcards, inPath) {
			t.Errorf("%s %s: the code has %v and %v, openapi.json has %v and %v", r.Method, r.Path, known, wildcards, query, inPath)
		}
	}
	for path, operations := range doc.Paths {
		for method := range operations {
			if strings.HasPrefix(path, "/v1/plugins") {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(code)
	slices.Sort(documented)
	if !slices.Equal(code, documented) {
		t.Errorf("the code has\n%s\nopenapi.json has\n%s", strings.Join(code, "\n"), strings.Join(documented, "\n"))
	}
}

func TestOpenAPIHasTheBodies(t *testing.T) {
	doc := description(t, "openapi.json")
	for name, typ := range map[string]reflect.Type{
		"PluginLimits":   reflect.TypeFor[plugins.Limits](),
		"PluginInput":    reflect.TypeFor[plugins.Input](),
		"PluginErrors":   reflect.TypeFor[plugins.ErrorPolicy](),
		"PluginManifest": reflect.TypeFor[plugins.Manifest](),
		"PluginReport":   reflect.TypeFor[plugins.Report](),
		"PluginVersion":  reflect.TypeFor[plugins.Version](),
		"PluginVersions": reflect.TypeFor[versionsBody](),
		"PluginDeploy":   reflect.TypeFor[plugins.Deploy](),
		"PluginLane":     reflect.TypeFor[plugins.LaneStatus](),
		"PluginBinding":  reflect.TypeFor[plugins.Status](),
		"PluginTotals":   reflect.TypeFor[plugins.Totals](),
		"PluginListed":   reflect.TypeFor[plugins.Listed](),
		"PluginList":     reflect.TypeFor[listBody](),
		"PluginRebuild":  reflect.TypeFor[plugins.Rebuild](),
		"PluginRollback": reflect.TypeFor[plugins.Rollback](),
		"PluginBeside":   reflect.TypeFor[plugins.Beside](),
		"PluginBefore":   reflect.TypeFor[plugins.Before](),
		"PluginPlan":     reflect.TypeFor[plugins.RollbackPlan](),
		"PluginShadow":   reflect.TypeFor[plugins.Shadow](), "PluginShadowStatus": reflect.TypeFor[plugins.ShadowStatus](),
		"PluginShadowDifference": reflect.TypeFor[plugins.ShadowDifference](), "PluginShadowReport": reflect.TypeFor[plugins.ShadowReport](),
		"PluginDryRun": reflect.TypeFor[plugins.DryRun](), "PluginDryRunProgress": reflect.TypeFor[plugins.DryRunProgress](),
		"PluginDryRunResult": reflect.TypeFor[plugins.DryRunResult](), "PluginTrial": reflect.TypeFor[plugins.Trial](),
		"PluginOutputs": reflect.TypeFor[plugins.Outputs](), "PluginOutput": reflect.TypeFor[plugins.OutputEvent](),
		"PluginTally": reflect.TypeFor[plugins.Tally](), "PluginContent": reflect.TypeFor[plugins.Content](),
		"PluginStateDiff": reflect.TypeFor[plugins.StateDiff](), "PluginStateChange": reflect.TypeFor[plugins.StateChange](),
		"PluginFailedTry": reflect.TypeFor[plugins.FailedTry](), "PluginDifferences": reflect.TypeFor[plugins.Differences](),
		"PluginDifference": reflect.TypeFor[plugins.Difference](), "PluginDeed": reflect.TypeFor[plugins.Deed](),
		"PluginPoison": reflect.TypeFor[plugins.Poison](), "PluginPoisonPage": reflect.TypeFor[poisonPage](), "PluginPoisonEvent": reflect.TypeFor[poisonBody](),
		"PluginPoisonRun": reflect.TypeFor[plugins.PoisonRun](), "PluginPoisonTrial": reflect.TypeFor[plugins.PoisonTrial](), "PluginPoisonRetry": reflect.TypeFor[plugins.PoisonRetry](),
		"PluginStep": reflect.TypeFor[plugins.Step](), "PluginSteps": reflect.TypeFor[plugins.Steps](), "PluginAttempt": reflect.TypeFor[plugins.Attempt](),
		"PluginState": reflect.TypeFor[stateBody](), "PluginWatchMessage": reflect.TypeFor[plugins.WatchMessage](),
		"PluginLogLine": reflect.TypeFor[plugins.LogLine](),
		"PluginLogs":    reflect.TypeFor[plugins.LogsPage](),
		"PluginABI":     reflect.TypeFor[plugins.ABI](),
	} {
		fields := jsonFields(typ)
		slices.Sort(fields)
		if documented := slices.Sorted(maps.Keys(doc.Components.Schemas[name].Properties)); !slices.Equal(fields, documented) {
			t.Errorf("%s: the code has %v, openapi.json has %v", name, fields, documented)
		}
	}
}

// jsonFields are the names of a struct's fields, and of those that are embedded.
func jsonFields(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.Type.Kind() == reflect.Pointer:
			names = append(names, jsonFields(f.Type.Elem())...)
		case f.Anonymous:
			names = append(names, jsonFields(f.Type)...)
		case name != "-":
			names = append(names, name)
		}
	}
	return names
}

func TestAsyncAPIHasTheOps(t *testing.T) {
	doc := description(t, "asyncapi.json")
	e := New(Config{Bindings: (*host.Host)(nil)})
	code, documented := []string{}, []string{}
	for _, o := range e.Ops {
		code = append(code, o.Name)
	}
	for _, r := range e.Routes {
		if r.Op == "" {
			continue
		}
		code = append(code, r.Op)
		properties := doc.Components.Schemas[r.Op].Properties
		for _, name := range append(regexp.MustCompile(`\w+(?:\})`).FindAllString(r.Path, -1), r.Query...) {
			if properties[strings.TrimSuffix(name, "}")] == nil {
				t.Errorf("op %s: asyncapi.json lacks the field %s", r.Op, name)
			}
		}
	}
	for _, s := range e.Subs {
		code = append(code, s.Name)
	}
	for _, operation := range []string{"plugins", "pluginLogs", "pluginDryRuns", "pluginWatches"} {
		for _, m := range doc.Operations[operation].Messages {
			documented = append(documented, m.Ref[strings.LastIndexByte(m.Ref, '/')+1:])
		}
	}
	slices.Sort(code)
	slices.Sort(documented)
	if !slices.Equal(code, documented) {
		t.Errorf("the code has\n%v\nasyncapi.json has\n%v", code, documented)
	}
}
