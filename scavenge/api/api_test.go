package api

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/wsapi/spectest"
)

// The descriptions of the APIs have the routes, the ops and the bodies.
func TestDescriptions(t *testing.T) {
	open, async := spectest.Read(t, "../../wsapi/docs/openapi.json"), spectest.Read(t, "../../wsapi/docs/asyncapi.json")
	for _, r := range New((*scavenge.Job)(nil)).Routes {
		open.Parameters(t, r.Method, r.Path, r.Query)
		fields := []string{"op", "id", "timeoutMs"}
		if r.Method == "POST" {
			fields = append(fields, "all", "dryRun", "bytesPerSecond")
		}
		spectest.Same(t, fields, slices.Collect(maps.Keys(async.Components.Schemas[r.Op].Properties)))
	}
	open.Bodies(t, map[string]reflect.Type{
		"ScavengeRequest": reflect.TypeFor[scavenge.Request](),
		"Scavenge":        reflect.TypeFor[scavenge.Status](),
		"ScavengeProblem": reflect.TypeFor[scavenge.Problem](),
	})
}
