package dashboard

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/fstest"
)

// built is a dashboard with one page and one script.
func built() *Dashboard {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write([]byte("let x")); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return pagesOf(fstest.MapFS{
		"dist/index.html":         {Data: []byte("<!doctype html>")},
		"dist/assets/a-1.js.gz":   {Data: zipped.Bytes()},
		"dist/theme.js":           {Data: []byte("{}")},
		"dist/assets/.gitkeep.gz": {Data: zipped.Bytes()},
	})
}

// TestServes: a page goes to browsers, and a wrong path of the API stays one.
func TestServes(t *testing.T) {
	d := built()
	for _, c := range []struct {
		method, path, accept string
		want                 bool
	}{
		{"GET", "/", "text/html,*/*", true},
		{"GET", "/streams/order-1/7", "text/html", true},
		{"GET", "/streams/order-1", "*/*", false},
		{"POST", "/streams/order-1", "text/html", false},
		{"GET", "/v1/nothing", "text/html", false},
		{"GET", "/v1", "text/html", false},
		{"GET", "/docs/errors", "text/html", false},
		{"GET", "/assets/a-1.js", "*/*", true},
		{"HEAD", "/theme.js", "*/*", true},
		{"GET", "/assets/old-2.js", "text/html", false},
		{"GET", "/assets/a-1.js.gz", "*/*", false},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		r.Header.Set("Accept", c.accept)
		if got := d.Serves(r); got != c.want {
			t.Errorf("%s %s, Accept %s: %t", c.method, c.path, c.accept, got)
		}
	}
}

// TestFiles: what is served, and how it may be kept.
func TestFiles(t *testing.T) {
	d := built()
	get := func(path, encoding string) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("GET", path, nil), httptest.NewRecorder()
		r.Header.Set("Accept-Encoding", encoding)
		d.ServeHTTP(w, r)
		return w
	}
	page := get("/streams/order-1", "gzip")
	if page.Body.String() != "<!doctype html>" || page.Header().Get("Cache-Control") != "no-cache" || page.Header().Get("Content-Security-Policy") != policy {
		t.Errorf("page: %q, %v", page.Body, page.Header())
	}
	if plain := get("/assets/a-1.js", ""); plain.Body.String() != "let x" || plain.Header().Get("Content-Encoding") != "" {
		t.Errorf("plain: %q, %v", plain.Body, plain.Header())
	}
	zipped := get("/assets/a-1.js", "gzip, br")
	r, err := gzip.NewReader(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(r); err != nil || text.String() != "let x" || zipped.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("compressed: %q, %v, %v", text.String(), err, zipped.Header())
	}
	if zipped.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("an asset may be kept: %v", zipped.Header())
	}
	again, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
	again.Header.Set("If-None-Match", page.Header().Get("ETag"))
	if d.ServeHTTP(w, again); w.Code != http.StatusNotModified {
		t.Errorf("again: %d", w.Code)
	}
}

// TestNotBuilt: a program without the pages has none.
func TestNotBuilt(t *testing.T) {
	if d := pagesOf(fstest.MapFS{"dist/.gitkeep": {}}); d != nil {
		t.Errorf("%v", d)
	}
}

// TestEmbedded: where the pages were built, the program has them. A release is tested with
// GYRE_TEST_DASHBOARD=1, and then has to.
func TestEmbedded(t *testing.T) {
	_, err := os.Stat("dist/index.html")
	if must := os.Getenv("GYRE_TEST_DASHBOARD") != ""; err != nil && !must {
		t.Skip("make dashboard builds the pages")
	}
	if Pages() == nil {
		t.Error("the program has no pages")
	}
}
