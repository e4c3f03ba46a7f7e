package wsapi

import (
	"net/http"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
)

// Starting is an http.Handler for the time before there is a Store, since opening a
// log after a crash may take minutes, and a database may come later: /livez answers that the process lives, so that
// nobody ends it for being slow, and everything else, /readyz too, is answered 503
// with code starting. Safe for concurrent use; the zero value is ready.
type Starting struct {
	done, total atomic.Int64
	waiting     atomic.Pointer[core.Error]
}

// Progress tells how far the opening is, in bytes of the log.
func (s *Starting) Progress(done, total int64) {
	s.total.Store(total)
	s.done.Store(done)
}

// Waiting tells why the log cannot be opened yet.
func (s *Starting) Waiting(why error) { s.waiting.Store(core.AsError(why)) }

func (s *Starting) err() *core.Error {
	if why := s.waiting.Load(); why != nil {
		return core.Errorf(core.CodeStarting, "the node waits for its database (%w)", why)
	}
	if total := s.total.Load(); total > 0 {
		return core.Errorf(core.CodeStarting, "the node is opening its log, and has read %d of %d MB", s.done.Load()/1e6, total/1e6)
	}
	return core.Errorf(core.CodeStarting, "the node is opening its log")
}

// ServeHTTP is part of http.Handler.
func (s *Starting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := newRecorder(w, r, Limits{}.WithDefaults().IOTimeout)
	// The client may be gone and not read the response.
	switch r.URL.Path {
	case "/livez":
		_ = writeText(rec, http.StatusOK, "ok\n")
	case "/readyz", "/healthz":
		_ = writeNotReady(rec, s.err().Error())
	default:
		writeProblem(rec, r, s.err(), newInstance(), 0)
	}
}
