package runtime_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// The body of a request to append, and one that somebody hides behind another request.
const (
	anEvent  = `{"type":"T","data":1}`
	smuggled = "POST /v1/streams/order-smuggled/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 21\r\nConnection: close\r\n\r\n" + anEvent
)

// framings are requests whose end can be read in several ways, and what may be answered to the
// first of each. LEN stands for the length of all that follows the headers.
var framings = map[string]struct {
	headers, body string
	want          []int
}{
	"a length and chunks":            {"Content-Length: LEN\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"chunks and a length":            {"Transfer-Encoding: chunked\r\nContent-Length: LEN\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"chunks and a short length":      {"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "15\r\n" + anEvent + "\r\n0\r\n\r\n" + smuggled, []int{201, 400}},
	"two lengths":                    {"Content-Length: 21\r\nContent-Length: LEN\r\n", anEvent + smuggled, []int{400}},
	"a list of lengths":              {"Content-Length: 21, LEN\r\n", anEvent + smuggled, []int{400}},
	"a length with a sign":           {"Content-Length: +21\r\n", anEvent + smuggled, []int{400}},
	"a length in hex":                {"Content-Length: 0x15\r\n", anEvent + smuggled, []int{400}},
	"a length below zero":            {"Content-Length: -1\r\n", anEvent + smuggled, []int{400}},
	"chunks that are none":           {"Content-Length: LEN\r\nTransfer-Encoding: xchunked\r\n", "0\r\n\r\n" + smuggled, []int{400, 501}},
	"chunks after another encoding":  {"Content-Length: LEN\r\nTransfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n" + smuggled, []int{400, 501}},
	"chunks before another encoding": {"Content-Length: LEN\r\nTransfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" + smuggled, []int{400, 501}},
	"chunks twice":                   {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n" + smuggled, []int{400, 501}},
	"chunks with a space":            {"Content-Length: LEN\r\nTransfer-Encoding : chunked\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"chunks with a control":          {"Content-Length: LEN\r\nTransfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n" + smuggled, []int{400, 501}},
	"a header in two lines":          {"Content-Length: LEN\r\nX-A: b\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"an encoding in two lines":       {"Content-Length: LEN\r\nTransfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"a bare line feed":               {"Content-Length: LEN\r\nX-A: b\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"a bare carriage return":         {"Content-Length: LEN\r\nX-A: b\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"a zero in a header":             {"Content-Length: LEN\r\nX-A: b\x00\r\n", "0\r\n\r\n" + smuggled, []int{400}},
	"chunks that end by a line feed": {"Transfer-Encoding: chunked\r\n", "15\n" + anEvent + "\r\n0\r\n\r\n" + smuggled, []int{400}},
	"an extension with a line feed":  {"Transfer-Encoding: chunked\r\n", "15;a\n" + anEvent + "\r\n0\r\n\r\n" + smuggled, []int{400}},
	"a chunk that is too long":       {"Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFF1\r\n" + anEvent + "\r\n0\r\n\r\n" + smuggled, []int{400}},
	"a trailer with a key":           {"Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n", "15\r\n" + anEvent + "\r\n0\r\nAuthorization: Bearer x\r\n\r\n" + smuggled, []int{201, 400}},
}

// TestSmuggledRequests: whatever the end of a request is taken for, what is behind it does not come
// by its key.
func TestSmuggledRequests(t *testing.T) {
	n := newMatrixNode(t)
	const last = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" // if the connection is not closed yet
	head := "POST /v1/streams/order-1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer " + n.tokens["writer+"] + "\r\n"
	for name, f := range framings {
		got := converse(t, n.Node, head+strings.ReplaceAll(f.headers, "LEN", fmt.Sprint(len(f.body)))+"\r\n"+f.body+last)
		if len(got) == 0 || !slices.Contains(f.want, got[0]) || slices.ContainsFunc(got[1:], func(status int) bool { return status == 201 }) {
			t.Errorf("%s: answered %d, want one of %d first", name, got, f.want)
		}
		if n.has(t, "order-smuggled") {
			t.Fatalf("%s: what was hidden behind it was done, answers %d", name, got)
		}
	}
	// What is looked for would be found.
	own := strings.Replace(smuggled, "\r\n", "\r\nAuthorization: Bearer "+n.tokens["writer+"]+"\r\n", 1)
	if got := converse(t, n.Node, head+"Content-Length: 21\r\n\r\n"+anEvent+own); !slices.Equal(got, []int{201, 201}) || !n.has(t, "order-smuggled") {
		t.Errorf("two requests with a key: %d", got)
	}
}

// converse sends text, and returns the statuses of all that is answered.
func converse(t *testing.T, node *runtime.Node, text string) (statuses []int) {
	t.Helper()
	conn := dialRaw(t, node)
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		return nil
	}
	for answers := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return statuses
		}
		statuses = append(statuses, res.StatusCode)
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil {
			return statuses
		}
	}
}

// has reports whether a stream has events.
func (n *matrixNode) has(t *testing.T, stream string) bool {
	t.Helper()
	page, err := n.Store().Read(t.Context(), core.ReadRequest{Stream: stream})
	return err == nil && page.Count > 0
}

// smuggledBetween: a node sends on what it has read, in a framing of its own, with the principal that
// it has found. No header of a client takes that away.
func smuggledBetween(t *testing.T, nodes []*runtime.Node, operator, reader string) {
	for i, n := range nodes {
		victim := fmt.Sprint("/v1/subscriptions/victim-", i)
		if status, text := as(t, operator, "PUT", n.URL()+victim, `{"stream":"order-1"}`); status != http.StatusCreated {
			t.Fatalf("put: %d %s", status, text)
		}
		hidden := "DELETE " + victim + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
		for _, other := range nodes {
			for name, f := range framings {
				body := strings.ReplaceAll(f.body, smuggled, hidden)
				converse(t, other, "PUT "+victim+"x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer "+operator+"\r\n"+
					strings.ReplaceAll(f.headers, "LEN", fmt.Sprint(len(body)))+"\r\n"+body+hidden)
				if status, text := as(t, operator, "GET", n.URL()+victim, ""); status != http.StatusOK {
					t.Fatalf("%s: what was hidden behind it was done: %d %s", name, status, text)
				}
			}
			for token, want := range map[string]int{operator: http.StatusOK, reader: http.StatusForbidden} {
				pause := "POST " + victim + "/pause HTTP/1.1\r\nHost: localhost\r\nConnection: close, Authorization, Gyre-Timeout\r\nGyre-Forwarded: x\r\nContent-Length: 0\r\nAuthorization: Bearer " + token + "\r\n\r\n"
				if got := converse(t, other, pause); !slices.Equal(got, []int{want}) {
					t.Errorf("a request that takes its key for one of the connection: %d, want %d", got, want)
				}
			}
		}
	}
}
