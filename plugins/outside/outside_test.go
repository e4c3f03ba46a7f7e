package outside

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call calls a server as a handler would.
func call(t *testing.T, c *Client, request string, private bool) (*Response, error) {
	t.Helper()
	r, err := Decode([]byte(request))
	if err != nil {
		t.Fatal(err)
	}
	r.Private, r.Key = private, "key-1"
	return c.Call(t.Context(), r)
}

// serve is a server, and a Client that trusts it if it has a certificate.
func serve(t *testing.T, secure bool, h http.HandlerFunc) (*httptest.Server, *Client) {
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	var config *tls.Config
	if secure {
		server.StartTLS()
		config = &tls.Config{RootCAs: x509.NewCertPool()}
		config.RootCAs.AddCert(server.Certificate())
	} else {
		server.Start()
	}
	client := NewClient(config)
	t.Cleanup(server.Close)
	t.Cleanup(client.Close)
	return server, client
}

func TestCall(t *testing.T) {
	for _, secure := range []bool{false, true} {
		server, client := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Add("X-Many", "1")
			w.Header().Add("X-Many", "2")
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("X-Own")+" "+r.Header.Get("Idempotency-Key")+" "+string(body))
		})
		got, err := call(t, client, `{"method":"POST","url":"`+server.URL+`/a?b=c","headers":{"x-own":"o"},"bodyBase64":"Ym9keQ=="}`, true)
		if err != nil || got.Status != 202 || string(got.Body) != "POST /a?b=c o key-1 body" || got.Headers["x-many"] != "1, 2" {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := call(t, client, `{"url":"`+server.URL+`/?token=hidden"}`, false); !errors.Is(err, ErrPrivate) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("a private address is called by who may not: %v", err)
		}
		if secure {
			other := NewClient(nil)
			defer other.Close()
			var unknown x509.UnknownAuthorityError
			if _, err := call(t, other, `{"url":"`+server.URL+`"}`, true); !errors.As(err, &unknown) {
				t.Errorf("a certificate of nobody is taken: %v", err)
			}
		}
	}
}

// TestNames: it is the address that a name resolves to which is dialled, so that counts.
func TestNames(t *testing.T) {
	server, client := serve(t, false, func(http.ResponseWriter, *http.Request) {})
	at := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	if _, err := call(t, client, `{"url":"`+at+`"}`, true); err != nil {
		t.Error(err)
	}
	if _, err := call(t, client, `{"url":"`+at+`"}`, false); !errors.Is(err, ErrPrivate) {
		t.Errorf("a name of a private address is called: %v", err)
	}
}

func TestRedirects(t *testing.T) {
	other, _ := serve(t, false, func(http.ResponseWriter, *http.Request) { t.Error("a redirect to another host is followed") })
	server, client := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{"/a": "/b", "/other": other.URL, "/loop": "/loop", "/secure": "https://" + r.Host + "/b"}[r.URL.Path]
		if to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	})
	for path, want := range map[string]int{"/a": 200, "/other": 307, "/secure": 307, "/loop": 0} {
		r, err := call(t, client, `{"method":"POST","url":"`+server.URL+path+`","bodyBase64":"Ym9keQ=="}`, true)
		switch {
		case want == 0 && (err == nil || !strings.Contains(err.Error(), "more than 3 times")):
			t.Errorf("a loop of redirects: %v, %v", r, err)
		case want != 0 && (err != nil || r.Status != want):
			t.Errorf("%s is answered with %+v, %v", path, r, err)
		}
	}
}

func TestResponsesAreBounded(t *testing.T) {
	hanging := make(chan struct{})
	server, client := serve(t, false, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/body":
			_, _ = w.Write(make([]byte, MaxBodyBytes+1)) // who reads it goes
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 2*maxResponseHeaderBytes))
		case "/hangs":
			<-hanging
		}
	})
	defer close(hanging)
	if _, err := call(t, client, `{"url":"`+server.URL+`/body"}`, true); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large body: %v", err)
	}
	if _, err := call(t, client, `{"url":"`+server.URL+`/header"}`, true); err == nil {
		t.Error("a large header is taken")
	}
	r, err := Decode([]byte(`{"url":"` + server.URL + `/hangs"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Private = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Call(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that does not answer: %v", err)
	}
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		`{"url":"https://EXAMPLE.com/a"}`:                        "example.com:443",
		`{"url":"http://example.com:8080"}`:                      "example.com:8080",
		`{"url":"http://[::1]/"}`:                                "[::1]:80",
		`{"url":"https://u:hidden@h/"}`:                          "the url has a user; send a header Authorization instead",
		`{"url":"ftp://hidden/"}`:                                "the url is of neither https nor http",
		`{"url":"/hidden"}`:                                      "the url is none such as https://api.example.com/hooks?id=1",
		`{"url":"http://h","method":"TRACE"}`:                    "the method is none of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
		`{"url":"http://h","body":"hidden"}`:                     "the request is not a JSON object {method, url, headers, bodyBase64}",
		`{"url":"http://h"} {}`:                                  "there is more behind the request",
		`{"url":"http://h","headers":{"Host":"hidden"}}`:         "the header host is the node's to set",
		`{"url":"http://h","headers":{"a":"hidden\r\nb: c"}}`:    "a header has a name or a value that none can have",
		`{"url":"http://h","headers":{"a b":"hidden"}}`:          "a header has a name or a value that none can have",
		`{"url":"http://h","headers":{"Idempotency-Key":"own"}}`: "the header idempotency-key is the node's to set",
	} {
		r, err := Decode([]byte(text))
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = r.Server
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestPublicAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"1.1.1.1": true, "2606:4700::1111": true, "64:ff9b::101:101": true, "::ffff:1.1.1.1": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "0.0.0.0": false, "100.64.0.1": false,
		"224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "::1": false, "::": false, "fe80::1": false, "fc00::1": false, "ff02::1": false,
		"::ffff:10.0.0.1": false, "::10.0.0.1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false, "2001:db8::1": false,
	} {
		if got := isPublic(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
}

// FuzzDecode: what is decoded has a server, and headers that cannot become others.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{`{"url":"https://h/"}`, `{"method":"POST","url":"http://[::1]:1","headers":{"a":"b"},"bodyBase64":"Yg=="}`, `{"url":"http://h:0x50"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Decode(text)
		if err != nil {
			return
		}
		u, err := url.Parse(r.URL)
		if err != nil || r.Server == "" || !strings.EqualFold(u.Hostname(), r.Server[:max(0, strings.LastIndexByte(r.Server, ':'))]) && !strings.Contains(r.Server, "]") {
			t.Errorf("%q is of the server %q", r.URL, r.Server)
		}
		if !slices.Contains(methods, r.Method) || len(r.Body) > MaxBodyBytes {
			t.Errorf("%+v", r)
		}
		for name, value := range r.Headers {
			if strings.ContainsAny(name+value, "\r\n\x00") || strings.EqualFold(name, "host") {
				t.Errorf("a header %q: %q", name, value)
			}
		}
	})
}
