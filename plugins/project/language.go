package project

import (
	"cmp"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	gyre "github.com/gyre-events/gyre"
	"github.com/gyre-events/gyre/core"
)

// language is what plugins can be written in.
type language struct {
	name string
	// build and test are commands for the manifest, and module is what build writes. Go has none.
	build, test []string
	module      string
	// quick is the environment of build for a module that takes less time to make.
	quick []string
	// sdk is where the SDK is in this module, and vendor where it is in a plugin's directory.
	sdk, vendor string
	// download is a command that a person runs once in a new plugin's directory. Most have none.
	download string
	// check finds out whether there is a toolchain. The error is toolchain_missing.
	check func(ctx context.Context, dir string) error
}

// languages are those that there are templates for.
var languages = []language{
	{name: "go", check: checkGo},
	{
		name: "rust", sdk: "sdk/rust", vendor: "gyre-plugin", check: checkRust,
		build: []string{
			"cargo", "build", "--quiet", "--offline", "--release", "--target", rustTarget, "--target-dir", "target",
		},
		// Optimising the module and the libraries as one is nine tenths of the time. Without, the module needs
		// about a third more fuel.
		quick:  []string{"CARGO_PROFILE_RELEASE_LTO=off"},
		module: "target/" + rustTarget + "/release/plugin.wasm",
		test:   []string{"cargo", "test", "--quiet", "--offline", "--target-dir", "target"},
	},
	{
		name: "c", sdk: "sdk/c", vendor: "gyre", check: checkC,
		build: []string{"make", "--silent", "module.wasm"}, module: "module.wasm", test: []string{"make", "--silent", "test"},
	},
	{
		name: "assemblyscript", sdk: "sdk/assemblyscript", vendor: "gyre-plugin", check: checkAssemblyScript, download: "npm ci",
		build: []string{"npm", "run", "--silent", "build"}, module: "build/module.wasm", test: []string{"npm", "run", "--silent", "test"},
	},
}

// Languages returns the names of the languages that there are templates for.
func Languages() (names []string) {
	for i := range languages {
		names = append(names, languages[i].name)
	}
	return names
}

// Commands are what to run in the directory of a new plugin, with a program that is Gyre.
func (n *New) Commands(program string) string {
	commands := []string{program + " plugin build", program + " plugin test"}
	if l := languageOf(n.Language); l != nil && l.download != "" {
		commands = slices.Insert(commands, 0, l.download)
	}
	return strings.Join(commands, " && ")
}

// languageOf returns the language that an SDK is for, such as rust or rust/1.0, or nil.
func languageOf(sdk string) *language {
	name, _, _ := strings.Cut(sdk, "/")
	i := slices.IndexFunc(languages, func(l language) bool { return l.name == name })
	if i < 0 {
		return nil
	}
	return &languages[i]
}

// templateOf returns the language of the plugin if a command of its manifest runs the same program
// as that of the template, or nil. Another program may need other things than the language.
func (p *Project) templateOf(command []string) *language {
	l := languageOf(p.Manifest.SDK)
	if l == nil || len(l.build) == 0 || len(command) == 0 || l.build[0] != command[0] {
		return nil
	}
	return l
}

// checkToolchain finds out whether there is what a command of the manifest needs.
func (p *Project) checkToolchain(ctx context.Context, command []string) error {
	if l := p.templateOf(command); l != nil {
		if err := l.check(ctx, p.Dir); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return core.Errorf(core.CodeToolchainMissing, "the manifest's command is %q, which is not on the PATH; install it, or change the command in %s", command[0], ManifestFile)
	}
	return nil
}

// vendoredSDK are the files of an SDK that is not in Go, by their paths in a plugin's directory.
func (l *language) vendoredSDK() (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(gyre.GuestSource, l.sdk, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := gyre.GuestSource.ReadFile(name)
		files[path.Join(l.vendor, strings.TrimPrefix(name, l.sdk+"/"))] = text
		return err
	})
	if err != nil {
		return nil, err
	}
	license, err := gyre.GuestSource.ReadFile("LICENSE")
	files[path.Join(l.vendor, "LICENSE")] = license
	return files, err
}

// rustTarget is what modules in Rust are built for.
const rustTarget = "wasm32-unknown-unknown"

func checkRust(ctx context.Context, dir string) error {
	const need = "plugins in Rust need cargo, rustc and the library for " + rustTarget
	for _, program := range []string{"cargo", "rustc"} {
		if _, err := exec.LookPath(program); err != nil {
			return core.Errorf(core.CodeToolchainMissing, "%s, and no %s is on the PATH; install Rust from https://rustup.rs, or your distribution's cargo", need, program)
		}
	}
	cmd := exec.CommandContext(ctx, "rustc", "--print", "target-libdir", "--target", rustTarget)
	cmd.Dir = dir
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	libraries := strings.TrimSpace(string(out))
	if err == nil {
		_, err = os.Stat(libraries)
	}
	if err != nil {
		return core.Errorf(core.CodeToolchainMissing, "%s, and the rustc on the PATH has none; run rustup target add %s, or on Debian apt-get install libstd-rust-dev-wasm32", need, rustTarget)
	}
	return nil
}

func checkC(ctx context.Context, dir string) error {
	const need = "plugins in C need make, clang and its linker for modules, wasm-ld"
	const how = "on Debian apt-get install make clang lld; CLANG may name another clang, such as clang-14"
	clang := cmp.Or(os.Getenv("CLANG"), "clang")
	for _, program := range []string{"make", clang} {
		if _, err := exec.LookPath(program); err != nil {
			return core.Errorf(core.CodeToolchainMissing, "%s, and no %s is on the PATH; %s", need, program, how)
		}
	}
	cmd := exec.CommandContext(ctx, clang, "--target=wasm32", "-print-prog-name=wasm-ld")
	cmd.Dir = dir
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// clang prints the path of the linker, or its bare name if it has none.
	linker := strings.TrimSpace(string(out))
	if _, missing := exec.LookPath(linker); err != nil || missing != nil && !filepath.IsAbs(linker) {
		return core.Errorf(core.CodeToolchainMissing, "%s, and %s finds no wasm-ld; %s", need, clang, how)
	}
	return nil
}

func checkAssemblyScript(_ context.Context, dir string) error {
	const need = "plugins in AssemblyScript need Node 20.12 or newer with npm, and the npm package assemblyscript"
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return core.Errorf(core.CodeToolchainMissing, "%s, and no %s is on the PATH; get it from https://nodejs.org", need, program)
		}
	}
	above, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for below := ""; above != below; below, above = above, filepath.Dir(above) { // as npm looks for packages
		if _, err := os.Stat(filepath.Join(above, "node_modules/assemblyscript")); err == nil {
			return nil
		}
	}
	return core.Errorf(core.CodeToolchainMissing, "%s, which is not installed; run npm ci in %s, once: it downloads the compiler", need, dir)
}
