package wsapi

import (
	"mime"
	"strconv"
	"strings"
)

// accepted is the offer that an Accept header prefers, or "" if it takes none of them.
// As of RFC 9110 the most specific range that covers an offer gives its weight. Offers of
// one weight rank as their ranges stand in the header, then as they stand here. No
// ranges take everything.
func accepted(accept []string, offers ...string) string {
	ranges := mediaRanges(accept)
	if len(ranges) == 0 {
		return offers[0]
	}
	best, weight, place := "", 0.0, 0
	for _, offer := range offers {
		at, specific := -1, -1
		for i := range ranges {
			if s := ranges[i].covers(offer); s > specific {
				at, specific = i, s
			}
		}
		if at < 0 {
			continue
		}
		if w := ranges[at].weight; w > weight || w == weight && w > 0 && at < place {
			best, weight, place = offer, w, at
		}
	}
	return best
}

// mediaRange is one element of an Accept header.
type mediaRange struct {
	kind   string // in lower case
	weight float64
}

// mediaRanges parses Accept headers. An element that cannot be parsed covers nothing.
func mediaRanges(accept []string) (list []mediaRange) {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			kind = ""
		}
		r := mediaRange{kind, 1}
		if q, ok := params["q"]; ok {
			if r.weight, err = strconv.ParseFloat(q, 64); err != nil || !(r.weight >= 0 && r.weight <= 1) {
				r.kind = ""
			}
		}
		list = append(list, r)
	}
	return list
}

// covers reports how specific r is for an offer: -1 if it does not cover it.
func (r *mediaRange) covers(offer string) int {
	group, isGroup := strings.CutSuffix(r.kind, "*")
	switch {
	case r.kind == offer:
		return 2
	case r.kind == "*/*":
		return 0
	case isGroup && strings.HasSuffix(group, "/") && strings.HasPrefix(offer, group):
		return 1
	}
	return -1
}
