package wsapi

import (
	"net/http"

	"github.com/gyre-events/gyre/core"
)

// deleteStream is DELETE /v1/streams/{stream}.
func (a *API) deleteStream(w http.ResponseWriter, r *http.Request) error {
	hard, err := isTrue(r.URL.Query(), "hard")
	if err != nil {
		return err
	}
	tombstone, err := isTrue(r.URL.Query(), "tombstone")
	switch {
	case err != nil:
		return err
	case hard && tombstone:
		return core.Errorf(core.CodeInvalidRequest, "a delete is hard, or leaves a tombstone, which is hard, too")
	case hard:
		return a.changeStream(w, r, core.RemoveStream)
	case tombstone:
		return a.changeStream(w, r, core.TombstoneStream)
	}
	return a.changeStream(w, r, core.DeleteStream)
}

// undeleteStream is POST /v1/streams/{stream}/undelete.
func (a *API) undeleteStream(w http.ResponseWriter, r *http.Request) error {
	if err := a.ignoreBody(w, r); err != nil {
		return err
	}
	return a.changeStream(w, r, core.UndeleteStream)
}

// changeStream changes a whole stream. There is nothing to answer.
func (a *API) changeStream(w http.ResponseWriter, r *http.Request, action core.StreamAction) error {
	stream := r.PathValue("stream")
	x, err := a.expected(w, r, stream)
	if err != nil {
		return a.refuseAppend(w, r, x, err)
	}
	op := core.StreamOp{Stream: stream, Expect: x.version, Incarnation: x.incarnation, Action: action}
	result, err := a.append(w, r, core.Commit{Streams: []core.StreamOp{op}})
	if err != nil {
		return a.refuseAppend(w, r, x, err)
	}
	a.nameOwner(w.Header(), &result)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
