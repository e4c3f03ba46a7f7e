package runtime

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// settingsRoute is GET /v1/config.
func (n *Node) settingsRoute() wsapi.Route {
	return wsapi.Route{Method: "GET", Path: "/v1/config", Op: "config", Needs: access.SeeMetrics, Query: []string{"node"}, Drained: true, Handle: n.serveSettings}
}

// serveSettings answers with the settings of a node of the ring.
func (n *Node) serveSettings(w http.ResponseWriter, r *http.Request) error {
	node := r.URL.Query().Get("node")
	if node == "" || node == n.config.Node {
		w.Header().Set("Cache-Control", "no-store")
		return wsapi.WriteJSON(w, http.StatusOK, n.settings())
	}
	if n.ring == nil {
		return core.Errorf(core.CodeNotSupported, "this node is in no ring; gyre serve --cluster makes it a member of one")
	}
	to, err := n.ring.owners.At(node)
	if err != nil {
		return err
	}
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	return to.Forward(ctx, w, r)
}

// settings are those of the node, with what it has found out where it was told nothing.
func (n *Node) settings() wire.Settings {
	found := map[string]string{
		"listen": n.Addr(), "engine": n.config.Engine, "node": n.config.Node, "admin-listen": n.AdminAddr(),
		"connection-memory": strconv.FormatInt(n.config.Load.ConnectionMemory, 10),
	}
	if n.config.Engine == EnginePostgres {
		found["store"] = cmp.Or(n.config.Postgres.Store, "gyre")
	}
	if !n.config.Plugins.Disabled {
		found["plugin-cache"] = n.pluginCache()
	}
	if r, ok := n.Ring(); ok {
		found["cluster-name"], found["quorum"] = r.Name, strconv.Itoa(r.Quorum)
		found["advertise"], found["gossip"] = r.Advertised, r.Gossip
		found["on-no-quorum"] = cmp.Or(n.config.Ring.OnNoQuorum, NoQuorumBlock)
	}
	list := wire.Settings{Node: n.config.Node, Settings: slices.Clone(n.config.Admin.Settings)}
	if list.Settings == nil {
		list.Settings = []wire.Setting{}
	}
	for i := range list.Settings {
		s := &list.Settings[i]
		s.Value = cmp.Or(found[s.Name], s.Value)
	}
	return list
}
