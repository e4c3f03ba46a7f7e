package wsapi

import (
	"net/http"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
)

// Starting is an http.Handler for the time before there is a Store. Opening a log may
// take minutes after a crash, and a database may come up later. /livez is 200, so that
// nobody ends the process for being slow; everything else, /readyz too, is 503 with code
// starting. Safe for concurrent use.
type Starting struct {
	guard       guard
	memory      requests.Memory // counts, and refuses nothing: requests have no bodies
	done, total atomic.Int64
	waiting     atomic.Pointer[core.Error]
}

// NewStarting makes a Starting, with AllowHosts and AllowOrigins of Config.
func NewStarting(allowHosts, allowOrigins []string) *Starting {
	return &Starting{guard: newGuard(allowHosts, allowOrigins)}
}

// Progress sets how many bytes of the log have been opened.
func (s *Starting) Progress(done, total int64) {
	s.total.Store(total)
	s.done.Store(done)
}

// Waiting sets why the log cannot be opened yet.
func (s *Starting) Waiting(why error) { s.waiting.Store(core.AsError(why)) }

func (s *Starting) err() *core.Error {
	if why := s.waiting.Load(); why != nil {
		return core.Errorf(core.CodeStarting, "the node waits for its database (%w)", why)
	}
	if total := s.total.Load(); total > 0 {
		return core.Errorf(core.CodeStarting, "the node is opening its log, and has read %d of %d MiB", s.done.Load()>>20, total>>20)
	}
	return core.Errorf(core.CodeStarting, "the node is opening its log")
}

// ServeHTTP is part of http.Handler.
func (s *Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := newRecorder(w, r, s.memory.Account(), Limits{}.WithDefaults().IOTimeout)
	defer rec.finish()
	// The client may be gone and not read the response.
	switch err, path := s.guard.admit(rec.Header(), r, false), r.URL.Path; {
	case err != nil:
		writeProblem(rec, r, err, newInstance(), 0)
	case r.Method == http.MethodOptions:
		s.guard.preflight(rec.Header(), r, "*")
		rec.WriteHeader(http.StatusNoContent)
	case path == "/livez":
		_ = writeText(rec, http.StatusOK, "ok\n")
	case path == "/readyz", path == "/healthz":
		_ = writeNotReady(rec, s.err().Error())
	default:
		writeProblem(rec, r, s.err(), newInstance(), 0)
	}
}
