package wsapi

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gyre-events/gyre/wsapi/requests"
)

// recorder records the status of a response. It sets the deadlines of both directions:
// the body has to arrive within bodyTimeout × ioTimeout of the request's headers,
// whether or not anybody reads it, and the response has ioTimeout from its first byte.
type recorder struct {
	http.ResponseWriter
	api       *API             // nil before there is one
	memory    requests.Account // of the request: its body, what was read for it, its response
	share     *requests.Share  // of the request's principal; nil: it is not counted
	ioTimeout time.Duration
	code      int
	rest      io.Reader // the body, until it was read to its end; nil over HTTP/2
	request   *http.Request
	detail    any // of AuditDetail
}

// maxRest bounds what is read of a body after the response to it, maxStrangersRest that of
// somebody who was refused for the key.
const (
	maxRest          = 64 << 20
	maxStrangersRest = 256 << 10
)

// newRecorder clears the write deadline that the connection's previous request left.
func newRecorder(w http.ResponseWriter, r *http.Request, memory requests.Account, ioTimeout time.Duration) *recorder {
	rec := &recorder{ResponseWriter: w, memory: memory, ioTimeout: ioTimeout, request: r}
	rec.writeBy(time.Time{})
	if r.ContentLength != 0 {
		if r.ProtoMajor == 1 {
			rec.rest = r.Body
		}
		rec.readBy(time.Now().Add(bodyTimeout * ioTimeout))
	}
	return rec
}

// WriteHeader records the status.
func (r *recorder) WriteHeader(status int) {
	r.begin(status)
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.begin(http.StatusOK)
	r.memory.Add(len(b))
	defer r.memory.Give(len(b))
	return r.ResponseWriter.Write(b)
}

func (r *recorder) begin(status int) {
	if r.code == 0 {
		r.code = status
		if r.rest != nil {
			// Otherwise net/http waits for the body before it sends the response. Then it
			// also sees where the body ends, and here it does not.
			_ = http.NewResponseController(r.ResponseWriter).EnableFullDuplex()
			r.Header().Set("Connection", "close")
		}
		r.writeBy(time.Now().Add(r.ioTimeout))
	}
}

// bodyRead is called when the body was read to its end. Only then may the request last
// longer than its body's deadline.
func (r *recorder) bodyRead() {
	r.rest = nil
	r.readBy(time.Time{})
}

// finish sends the response, and discards the rest of the body: many clients read no
// response before they have sent all of it, and never see one if the connection is closed.
// It ends with the body's deadline.
func (r *recorder) finish() {
	if r.rest == nil || r.code == http.StatusSwitchingProtocols {
		return
	}
	r.memory.Release()
	// A client that is gone sends nothing and reads nothing.
	_ = http.NewResponseController(r.ResponseWriter).Flush()
	limit := int64(maxRest)
	if r.code == http.StatusUnauthorized || r.code == http.StatusTooManyRequests {
		limit = maxStrangersRest
	}
	_, _ = io.CopyN(io.Discard, r.rest, limit)
}

func (r *recorder) writeBy(t time.Time) {
	// Not every ResponseWriter has deadlines; the server's have.
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(t)
}

func (r *recorder) readBy(t time.Time) {
	// Not every ResponseWriter has deadlines; the server's have.
	_ = http.NewResponseController(r.ResponseWriter).SetReadDeadline(t)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Hijack is for package websocket, which does not know Unwrap.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.code = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// memoryOf returns the Account of a request, by the ResponseWriter of its handler.
func memoryOf(w http.ResponseWriter) *requests.Account { return &w.(*recorder).memory }

// shareOf returns the Share of a request, by the ResponseWriter of its handler.
func shareOf(w http.ResponseWriter) *requests.Share { return w.(*recorder).share }

// begun reports whether part of the response was written.
func (r *recorder) begun() bool { return r.code != 0 }

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}
