package wsapi

import "testing"

func TestAccepted(t *testing.T) {
	for _, c := range []struct {
		accept []string
		want   string
	}{
		{nil, typeJSON},
		{[]string{""}, typeJSON},
		{[]string{" , ,"}, typeJSON},
		{[]string{"*/*"}, typeJSON},
		{[]string{"application/*"}, typeJSON},
		{[]string{"text/*"}, typeEventStream},
		{[]string{"TEXT/Event-Stream"}, typeEventStream},
		{[]string{"application/x-ndjson", "application/json"}, typeNDJSON},
		{[]string{"text/html,application/xhtml+xml,*/*;q=0.8"}, typeJSON},
		{[]string{"application/json;q=0.1, text/event-stream; q=0.9"}, typeEventStream},
		{[]string{"application/json; Q=0.10, application/x-ndjson;q=0.100"}, typeJSON},
		{[]string{"application/json;charset=utf-8;q=0.2,application/cloudevents-batch+json;q=0.3"}, typeCloudBatch},
		{[]string{"*/*, application/json;q=0"}, typeNDJSON},
		{[]string{"application/json;q=0.0, application/x-ndjson;q=0.000"}, ""},
		{[]string{"application/*;q=0.5, application/json;q=0.1, */*;q=0.2"}, typeNDJSON},
		{[]string{"*/*;q=0"}, ""},
		{[]string{"image/png"}, ""},
		{[]string{"application/json;q=2, text/event-stream;q=0.1"}, typeEventStream},
		{[]string{"application/json;q=NaN"}, ""},
		{[]string{"application/json;q=x"}, ""},
		{[]string{"*"}, ""},
		{[]string{"application*"}, ""},
	} {
		if got := accepted(c.accept, typeJSON, typeNDJSON, typeEventStream, typeCloudBatch); got != c.want {
			t.Errorf("%q: %q, want %q", c.accept, got, c.want)
		}
	}
}

func FuzzAccepted(f *testing.F) {
	f.Add("text/html;q=0.5, */*;q=0", "application/json")
	f.Fuzz(func(t *testing.T, one, other string) {
		switch got := accepted([]string{one, other}, typeJSON, typeEventStream); got {
		case "", typeJSON, typeEventStream:
		default:
			t.Errorf("%q, %q: %q", one, other, got)
		}
	})
}
