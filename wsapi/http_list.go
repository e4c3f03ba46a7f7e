package wsapi

import (
	"encoding/base64"
	"net/url"

	"github.com/gyre-events/gyre/core"
)

// List is what a request for a list by name asks for.
type List struct {
	Prefix string
	After  string // the last name of the page before
	Limit  int    // 0: not said
}

// ParseList reads prefix, cursor and limit of a query. others are the parameters that the list
// has beside them.
func ParseList(q url.Values, others ...string) (list List, err error) {
	if err := only(q, append([]string{"prefix", "cursor", "limit"}, others...)...); err != nil {
		return list, err
	}
	limit, err := Number(q, "limit", 1, core.MaxReadEvents)
	if err != nil {
		return list, err
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("cursor"))
	if err != nil {
		return list, core.Errorf(core.CodeInvalidCursor, "%q is not a cursor of this list", core.Clip(q.Get("cursor")))
	}
	return List{q.Get("prefix"), string(after), int(limit)}, nil
}

// ListCursor leads to the page after the one that ends with a name.
func ListCursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }
