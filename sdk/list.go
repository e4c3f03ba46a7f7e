package sdk

import (
	"encoding/base64"
	"net/url"
	"strconv"

	"github.com/gyre-events/gyre/core"
)

// queryOf makes a query of names and values. It leaves empty values out.
func queryOf(pairs ...string) url.Values {
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	return query
}

// listQuery is queryOf for a page of at most limit items, which begins after that of the page before.
func listQuery(after string, limit int, pairs ...string) url.Values {
	query := queryOf(append(pairs, "cursor", base64.RawURLEncoding.EncodeToString([]byte(after)))...)
	setLimit(query, limit)
	return query
}

func setLimit(query url.Values, limit int) {
	if limit > 0 {
		query.Set("limit", strconv.Itoa(min(limit, core.MaxReadEvents)))
	}
}

// nextOf decodes the cursor of an answer.
func nextOf(cursor string) (string, error) {
	next, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", core.Errorf(core.CodeProtocolError, "the cursor of an answer, %q, is none", core.Clip(cursor))
	}
	return string(next), nil
}
