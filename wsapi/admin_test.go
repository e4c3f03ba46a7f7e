package wsapi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// TestMetricsAndProfilesNeedAKey: also at a listener of their own, but for metrics that are
// open.
func TestMetricsAndProfilesNeedAKey(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	for _, open := range []bool{false, true} {
		api, err := wsapi.New(wsapi.Config{Store: store, Access: testKeys(), Admin: true, MetricsOpen: open})
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]map[string]int{
			"/metrics":                      {"": 401, "reader-key": 403, "operator-key": 200},
			"/debug/pprof/heap":             {"": 401, "reader-key": 403, "operator-key": 200},
			"/debug/pprof/trace?seconds=99": {"": 401, "reader-key": 403, "operator-key": 400},
			"/livez":                        {"": 200, "reader-key": 200},
		} {
			for key, status := range want {
				if open && path == "/metrics" {
					status = http.StatusOK
				}
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, http.NoBody)
				if key != "" {
					r.Header.Set("Authorization", "Bearer "+key)
				}
				w := httptest.NewRecorder()
				api.Admin(w, r)
				if w.Code != status {
					t.Errorf("%s with %q, open: %t: %d, want %d: %.200s", path, key, open, w.Code, status, w.Body)
				}
			}
		}
		if err := api.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
