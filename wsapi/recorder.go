package wsapi

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// recorder notes the status of an answer, and gives it a deadline when it begins.
type recorder struct {
	http.ResponseWriter
	patience time.Duration
	code     int
}

// newRecorder also takes back the deadline that the request before this one may
// have left on the connection.
func newRecorder(w http.ResponseWriter, patience time.Duration) *recorder {
	r := &recorder{ResponseWriter: w, patience: patience}
	r.writeBy(time.Time{})
	return r
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	r.begin(status)
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.begin(http.StatusOK)
	return r.ResponseWriter.Write(b)
}

func (r *recorder) begin(status int) {
	if r.code == 0 {
		r.code = status
		r.writeBy(time.Now().Add(r.patience))
	}
}

func (r *recorder) writeBy(t time.Time) {
	// Not every ResponseWriter has deadlines; the server's have.
	_ = http.NewResponseController(r.ResponseWriter).SetWriteDeadline(t)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Hijack is for package websocket, which does not know Unwrap.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.code = http.StatusSwitchingProtocols
	return http.NewResponseController(r.ResponseWriter).Hijack()
}

// begun reports whether there is something of an answer already.
func (r *recorder) begun() bool { return r.code != 0 }

func (r *recorder) status() int {
	if r.code == 0 {
		return http.StatusOK
	}
	return r.code
}
