package api

import (
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// None is the extension of a node that runs no plugins. It says so at every path of plugins: who
// wants to pause a validator there would otherwise be told to check the name.
func None() (e wsapi.Extension) {
	for _, path := range []string{"/v1/plugins", "/v1/plugins/{path...}"} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
			e.Routes = append(e.Routes, wsapi.Route{Method: method, Path: path, Needs: access.SeePlugins, Handle: noPlugins})
		}
	}
	return e
}

func noPlugins(http.ResponseWriter, *http.Request) error {
	return core.Errorf(core.CodeNotSupported, "this node runs no plugins; start it without --no-plugins, or ask another node of the ring")
}
