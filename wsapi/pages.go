package wsapi

import (
	_ "embed"
	"html/template"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// The API's descriptions. Tests hold them to the code.
var (
	//go:embed docs/openapi.json
	openAPI []byte
	//go:embed docs/asyncapi.json
	asyncAPI []byte
	//go:embed docs/landing.html
	landingHTML string
	//go:embed docs/error.html
	errorHTML string

	landingPage = template.Must(template.New("landing").Parse(landingHTML))
	errorPage   = template.Must(template.New("error").Parse(errorHTML))
)

// pagePolicy lets a page load nothing and run nothing: its style is in it.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Dashboard is the pages of a node for people. It is safe for concurrent use.
type Dashboard interface {
	http.Handler
	// Serves reports whether a request that nothing else is for is for the dashboard.
	Serves(r *http.Request) bool
}

// pagesPath is the path of the dashboard's pages and files: any that nothing else is at.
const pagesPath = "/{path...}"

// pageRoutes is the route of the dashboard. It is no part of the API.
func (a *API) pageRoutes() []Route {
	if a.dashboard == nil {
		return nil
	}
	return []Route{{Method: "GET", Path: pagesPath, Needs: access.Open, Handle: a.browse, AnyQuery: true, Drained: true}}
}

// home is GET /: the dashboard, if there is one.
func (a *API) home(w http.ResponseWriter, r *http.Request) error {
	if a.dashboard == nil {
		return a.landing(w, r)
	}
	return a.browse(w, r)
}

// browse serves a page or a file of the dashboard. What is chosen on a page is in its query.
func (a *API) browse(w http.ResponseWriter, r *http.Request) error {
	a.dashboard.ServeHTTP(w, r)
	return nil
}

// landing is a page without the dashboard: what this is, for someone who opens the address in a browser.
func (a *API) landing(w http.ResponseWriter, r *http.Request) error {
	state := a.config.Store.State()
	return a.render(w, landingPage, map[string]any{
		"Insecure": a.config.Insecure, "Metrics": !a.config.Admin,
		"Known": access.Check(r.Context(), access.SeeServer, "") == nil,
		"Node":  a.config.Node, "Version": a.config.Version, "Log": state.Log, "Head": state.Head,
		"URL": baseURL(r), "ReadOnly": state.ReadOnly,
	})
}

// explain is GET /docs/errors/{code}.
func (a *API) explain(w http.ResponseWriter, r *http.Request) error {
	code := core.Code(r.PathValue("code"))
	if !code.Known() {
		return core.Errorf(core.CodeNotFound, "there is no error code %q", core.Clip(string(code)))
	}
	return a.render(w, errorPage, map[string]any{"Insecure": a.config.Insecure, "Info": code.Info()})
}

func (a *API) render(w http.ResponseWriter, page *template.Template, data any) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	return page.Execute(w, data)
}

func (a *API) serveOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	return writeDocument(w, openAPI)
}

func (a *API) serveAsyncAPI(w http.ResponseWriter, _ *http.Request) error {
	return writeDocument(w, asyncAPI)
}

func writeDocument(w http.ResponseWriter, text []byte) error {
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Cache-Control", "no-cache")
	_, err := w.Write(text)
	return err
}
