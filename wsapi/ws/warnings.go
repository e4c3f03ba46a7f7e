package ws

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxWarnings bounds the answers that wait with a warning.
const maxWarnings = 1024

// warnings are those of requests that are not answered yet.
type warnings struct {
	any  atomic.Bool // there is one: most connections never have any
	mu   sync.Mutex
	byID map[uint64]string
}

// ignored notes that a field of a request is not known. An older server ignores what newer
// clients send, so it is no error; but it may be misspelt.
func (w *warnings) ignored(id uint64, field string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = map[uint64]string{}
	}
	if id != 0 && len(w.byID) < maxWarnings {
		w.byID[id] = fmt.Sprintf("%s is not a field that is known; it was ignored", field)
		w.any.Store(true)
	}
}

// pending reports whether the answer to a request has a warning.
func (w *warnings) pending(id uint64) bool {
	if !w.any.Load() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.byID[id] != ""
}

// addTo adds the warning about a request to its answer.
func (w *warnings) addTo(id uint64, answer []byte) []byte {
	if !w.any.Load() {
		return answer
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	warning := w.byID[id]
	if warning == "" {
		return answer
	}
	delete(w.byID, id)
	w.any.Store(len(w.byID) > 0)
	return wire.AppendWarning(answer, warning)
}
