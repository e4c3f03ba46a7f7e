package delivery

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// TestOptionsAreWrittenAsTheAPIDoes holds names, units and defaults.
func TestOptionsAreWrittenAsTheAPIDoes(t *testing.T) {
	const want = `{"partitionBy":"none","concurrencyLimit":1,"bufferSize":64,"checkpointThreshold":1,"checkpointAfterMs":0,` +
		`"ackTimeoutMs":30000,"retry":{"max":10,"minMs":100,"maxMs":30000,"then":"park"},"onPark":"continue","paused":false}`
	got, err := json.Marshal(DefaultOptions())
	if err != nil || string(got) != want {
		t.Errorf("defaults are %s, %v", got, err)
	}
	o := DefaultOptions()
	if err := json.Unmarshal([]byte(`{"bufferSize":8,"retry":{"max":3}}`), &o); err != nil {
		t.Fatal(err)
	}
	if o.BufferSize != 8 || o.Retry != (Retry{3, 100, 30_000, ThenPark}) || o.AckTimeoutMs != 30_000 {
		t.Errorf("what is left out keeps its default: %+v", o)
	}
}

// TestNonsenseOptions changes one thing each.
func TestNonsenseOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*Options){
		"partitionBy":         func(o *Options) { o.PartitionBy = "" },
		"concurrencyLimit":    func(o *Options) { o.ConcurrencyLimit = 0 },
		"bufferSize":          func(o *Options) { o.BufferSize = 1 << 20 },
		"checkpointThreshold": func(o *Options) { o.CheckpointThreshold = -1 },
		"checkpointAfterMs":   func(o *Options) { o.CheckpointAfterMs = -1 },
		"ackTimeoutMs":        func(o *Options) { o.AckTimeoutMs = 0 },
		"retry.max":           func(o *Options) { o.Retry.Max = 0 },
		"retry.minMs":         func(o *Options) { o.Retry.MinMs = -1 },
		"retry.maxMs":         func(o *Options) { o.Retry.MaxMs = 99 },
		"retry.then":          func(o *Options) { o.Retry.Then = "explode" },
		"onPark":              func(o *Options) { o.OnPark = HoldKey },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); !errors.Is(err, core.CodeInvalidRequest) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
		if err := DefaultOptions().Same(o); !errors.Is(err, core.CodeSubscriptionOptionsDiffer) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s differs: %v", field, err)
		}
	}
	o := DefaultOptions()
	o.OnPark = "explode"
	if err := o.Validate(); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("onPark: %v", err)
	}
	o = DefaultOptions()
	o.AckTimeoutMs, o.Retry.Max = NoLimit, NoLimit
	if err := o.Validate(); err != nil {
		t.Errorf("no limits: %v", err)
	}
	o.Retry.Max = -2
	if err := o.Validate(); !errors.Is(err, core.CodeInvalidRequest) || !strings.Contains(err.Error(), "-1 for no limit") {
		t.Errorf("retry.max: %v", err)
	}
	o = DefaultOptions()
	o.Paused = true
	if err := DefaultOptions().Same(o); err != nil {
		t.Errorf("what an operator paused is the same subscription: %v", err)
	}
}

func TestBackoff(t *testing.T) {
	r := Retry{Max: 1000, MinMs: 100, MaxMs: 30_000}
	for failed, want := range map[int]time.Duration{
		1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 9: 25_600 * time.Millisecond, 10: 30 * time.Second, 1000: 30 * time.Second,
	} {
		if got := r.backoff(failed); got != want {
			t.Errorf("after %d failed attempts: %s, want %s", failed, got, want)
		}
	}
	if got := (&Retry{MaxMs: 1000}).backoff(5); got != 0 {
		t.Errorf("without a least rest: %s", got)
	}
}

// TestSameComparesEveryOption changes one option after another. Paused is an operator's.
func TestSameComparesEveryOption(t *testing.T) {
	change := func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.Bool:
			v.SetBool(!v.Bool())
		default:
			t.Fatalf("an option of kind %s", v.Kind())
		}
	}
	var walk func(path string, at func(*Options) reflect.Value)
	walk = func(path string, at func(*Options) reflect.Value) {
		o := DefaultOptions()
		v := at(&o)
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				name := strings.TrimPrefix(path+"."+v.Type().Field(i).Name, ".")
				walk(name, func(o *Options) reflect.Value { return at(o).Field(i) })
			}
			return
		}
		change(v)
		if err := DefaultOptions().Same(o); (err == nil) != (path == "Paused") {
			t.Errorf("%s is another: %v", path, err)
		}
	}
	walk("", func(o *Options) reflect.Value { return reflect.ValueOf(o).Elem() })
}
