package api

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/wsapi/spectest"
)

func TestOpenAPIHasTheRoutes(t *testing.T) {
	doc := spectest.Read(t, "../../wsapi/docs/openapi.json")
	var code []string
	for _, r := range (&api{Config{Bindings: (*host.Host)(nil)}}).routes() {
		code = append(code, r.Method+" "+r.Path)
		doc.Parameters(t, r.Method, r.Path, r.Query)
	}
	doc.Routes(t, code, func(path string) bool { return strings.HasPrefix(path, "/v1/plugins") })
}

func TestOpenAPIHasTheBodies(t *testing.T) {
	doc := spectest.Read(t, "../../wsapi/docs/openapi.json")
	doc.Bodies(t, map[string]reflect.Type{
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
	})
}

func TestAsyncAPIHasTheOps(t *testing.T) {
	doc := spectest.Read(t, "../../wsapi/docs/asyncapi.json")
	e := New(Config{Bindings: (*host.Host)(nil)})
	var code, documented []string
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
		documented = append(documented, doc.Operations[operation].Names()...)
	}
	spectest.Same(t, code, documented)
}
