package dashboard

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed all:dist
var dist embed.FS

// policy lets the pages load and ask for what the node serves, and nothing else. Their icons
// are in the style sheet.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// types are the media types of files. Those that a system has may differ.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".png":  "image/png",
	".wasm": "application/wasm",
}

// index is the file that every page begins with.
const index = "index.html"

// Dashboard is the pages. It is safe for concurrent use.
type Dashboard struct{ files map[string]file }

// file is a file of dist, compressed if that is worth it.
type file struct {
	body   []byte
	gzip   bool
	header http.Header
}

// Pages returns the dashboard; nil if the program was built without it.
func Pages() *Dashboard { return pagesOf(dist) }

// pagesOf returns the dashboard in the folder dist of a file system.
func pagesOf(fsys fs.FS) *Dashboard {
	d := &Dashboard{map[string]file{}}
	err := fs.WalkDir(fsys, "dist", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := fs.ReadFile(fsys, name)
		name, zipped := strings.CutSuffix(strings.TrimPrefix(name, "dist/"), ".gz")
		d.files[name] = newFile(name, body, zipped)
		return err
	})
	if err != nil {
		panic(err) // it is part of the program
	}
	if _, built := d.files[index]; !built {
		return nil
	}
	return d
}

func newFile(name string, body []byte, zipped bool) file {
	sum := sha256.Sum256(body)
	h := http.Header{}
	h.Set("Content-Type", cmp.Or(types[path.Ext(name)], "application/octet-stream"))
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // its name has the hash of its content
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	return file{body, zipped, h}
}

// Serves reports whether a request is for the dashboard: for one of its files, or by a browser
// that wants a page. What asks for a page by any other means has mistaken a path of the API.
func (d *Dashboard) Serves(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if _, ok := d.files[strings.TrimPrefix(r.URL.Path, "/")]; ok {
		return true
	}
	top, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return strings.Contains(r.Header.Get("Accept"), "text/html") && !slices.Contains([]string{"v1", "docs", "assets", "samples"}, top)
}

// ServeHTTP serves a file, and to every other path the page that finds out what to show.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := d.files[strings.TrimPrefix(r.URL.Path, "/")]
	if !ok {
		f = d.files[index]
	}
	h := w.Header()
	for name, values := range f.header {
		h[name] = values
	}
	var body io.ReadSeeker = bytes.NewReader(f.body)
	if f.gzip {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
		} else {
			body = bytes.NewReader(unzipped(f.body))
			h.Del("ETag") // it is that of the compressed bytes
		}
	}
	http.ServeContent(w, r, "", time.Time{}, body)
}

// unzipped returns what was compressed when the program was built.
func unzipped(b []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return plain
}
