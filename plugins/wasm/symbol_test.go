package wasm

import "testing"

func TestFramesAreNames(t *testing.T) {
	const stack = `gyre_meter.refuel(i64) i64
	gyre_1.fail(i32,i32,i32)
	._ZN11gyre_plugin5entry13report_panics28_$u7b$$u7b$closure$u7d$$u7d$17h6482a8d21f9b1ee5E(i32,i32)
	._RNvNtCs1234_7mycrate4shop5total(i32)
	._ZN6plugin5total17h1ee08573b75868dcE(i32,i32) i32
	.example.com/shop.(*Order).total(i32) i32
	.std::vector<int>::at(int)(i32,i32)
	.$12()
	.gyre_handle(i32,i32,i32) i32`
	const want = `gyre_1.fail
gyre_plugin::entry::report_panics::{{closure}}
mycrate::shop::total
plugin::total
example.com/shop.(*Order).total
std::vector<int>::at(int)
$12
gyre_handle`
	if got := frames("\n" + stack + "\n"); got != want {
		t.Errorf("the frames are\n%s\nwant\n%s", got, want)
	}
	if got := frames(""); got != "" {
		t.Errorf("no stack is %q", got)
	}
}

func FuzzFrames(f *testing.F) {
	for _, seed := range []string{".a(i32)", "_RNvCs_1a", "._ZN6plugin5total17h1ee08573b75868dcE(", "()", "\n.\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stack string) {
		if got := frames(stack); len(got) > 2*len(stack)+1<<maxSymbolShift*len(stack) {
			t.Errorf("%d bytes of frames of %d", len(got), len(stack))
		}
	})
}
