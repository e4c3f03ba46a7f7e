package wsapi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// A removal changes pages of a stream whose links lose their events, and not its version. A tag
// names one content of a page all the same, and takes an append as before.
func TestETagsOfPagesWithRemovedEvents(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	const events, homes = 12, 6
	for i := range events { // every second link is to a stream that is removed later
		id := core.NewID().String()
		n.do("POST", fmt.Sprintf("/v1/streams/home-%d/events", i%homes), fmt.Sprintf(`{"id":"%s","type":"T%d","data":1}`, id, i%2)).want(t, 201)
		n.do("POST", "/v1/streams/l/links", `{"links":["`+id+`"]}`).want(t, 201)
	}
	paths := []string{"/v1/streams/l/events", "/v1/streams/l/events?from=13", "/v1/streams/l/events?dir=backward&from=start"}
	for _, selection := range []string{"", "&types=T1", "&types=None", "&from=2000-01-01T00:00:00Z"} {
		for _, limit := range []int{1, 2, 5, 12, 100} {
			paths = append(paths, fmt.Sprintf("/v1/streams/l/events?limit=%d%s", limit, selection), fmt.Sprintf("/v1/streams/l/events?dir=backward&limit=%d%s", limit, selection))
			for _, from := range []int{2, 7, 12} {
				if !strings.Contains(selection, "from") {
					paths = append(paths, fmt.Sprintf("/v1/streams/l/events?limit=%d&from=%d%s", limit, from, selection), fmt.Sprintf("/v1/streams/l/events?dir=backward&limit=%d&from=%d%s", limit, from, selection))
				}
			}
		}
	}
	seen := make(map[string]string) // what a tag of a path stands for
	for _, home := range []int{-1, 5, 0, 3, 1, 4, 2} {
		if home >= 0 {
			n.do("DELETE", fmt.Sprintf("/v1/streams/home-%d?hard=true", home), "").want(t, 204)
		}
		for _, path := range paths {
			a := n.do("GET", path, "").want(t, 200)
			var page struct {
				Events []struct{ Version int }
				End    bool
			}
			if err := json.Unmarshal(a.body, &page); err != nil {
				t.Fatal(err)
			}
			tag, content := a.Header.Get("ETag"), fmt.Sprint(page.Events)
			if before, ok := seen[path+tag]; ok && before != content {
				t.Fatalf("%s has the tag %s of %s and of %s", path, tag, before, content)
			}
			seen[path+tag] = content
			if head := n.do("HEAD", path, "").want(t, 200).Header.Get("ETag"); head != tag {
				t.Fatalf("HEAD %s has the tag %s, GET %s", path, head, tag)
			}
			n.do("GET", path, "", "If-None-Match: "+tag).want(t, 304)
			if home < 0 && !strings.ContainsAny(path, "&") && strings.Contains(tag, "-p") {
				t.Errorf("%s has the tag %s before there is a removal", path, tag)
			}
		}
	}
	for _, kind := range []string{batchType, jsonType} {
		tag := n.do("GET", paths[0], "", "Accept: "+kind).want(t, 200).Header.Get("ETag")
		const none = "-pe3b0c44298fc1c14"
		if !strings.Contains(tag, none) {
			t.Fatalf("the tag of a page without events is %s", tag)
		}
		for _, other := range []string{none + "00", none[:16], "-pE3b0c44298fc1c14", "-pe3b0c44298fc1c1x", "-q" + none[2:], none + none} {
			n.do("POST", "/v1/streams/l/events", `{"type":"T","data":1}`, "If-Match: "+strings.Replace(tag, none, other, 1)).want(t, 412)
		}
		if kind == jsonType {
			n.do("POST", "/v1/streams/l/events", `{"type":"T","data":1}`, "If-Match: "+tag).want(t, 201)
		}
	}
}

// An event that has expired comes back with a greater maxCount, and another one may be gone by then.
func TestETagsOfPagesWithExpiredEvents(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for _, stream := range []string{"a", "b", "c", "d", "e"} {
		id := core.NewID().String()
		n.do("POST", "/v1/streams/"+stream+"/events", `{"id":"`+id+`","type":"T","data":1}`).want(t, 201)
		n.do("POST", "/v1/streams/"+stream+"/events", `{"type":"T","data":1}`).want(t, 201)
		n.do("POST", "/v1/streams/l/links", `{"links":["`+id+`"]}`).want(t, 201)
	}
	n.do("PUT", "/v1/streams/b/retention", `{"maxCount":1}`).want(t, 200)
	tag := n.do("GET", "/v1/streams/l/events", "").want(t, 200).Header.Get("ETag") // a, c, d, e
	n.do("GET", "/v1/streams/l/events", "", "If-None-Match: "+tag).want(t, 304)
	n.do("PUT", "/v1/streams/b/retention", `{"maxCount":2}`).want(t, 200)
	n.do("DELETE", "/v1/streams/c?hard=true", "").want(t, 204)
	n.do("GET", "/v1/streams/l/events", "", "If-None-Match: "+tag).want(t, 200) // a, b, d, e
}
