package main

import (
	"strings"
	"testing"
)

func TestOrdersAreBilled(t *testing.T) {
	const batch = `{"batch":{"events":2,"config":{"currency":"EUR"}}}
{"stream":"order-1","version":1,"position":7,"type":"OrderPlaced","data":{"total":30},"metadata":{},"attempt":1}
{"stream":"order-2","version":1,"position":8,"type":"OrderPlaced","data":{},"metadata":{},"attempt":1}
`
	const want = `{"do":"append","events":[{"data":{"currency":"EUR","order":"order-1","total":30},"type":"Billed"}],"position":7,"stream":"bills"}
{"do":"put","key":"order-1","position":7,"value":30}
{"do":"park","position":8,"reason":"the order has no total"}
`
	var out strings.Builder
	if err := run(strings.NewReader(batch), &out); err != nil || out.String() != want {
		t.Errorf("%v, %s, want %s", err, &out, want)
	}
}

func TestABrokenLineFailsTheBatch(t *testing.T) {
	if err := run(strings.NewReader("{"), &strings.Builder{}); err == nil {
		t.Error("no error")
	}
}
