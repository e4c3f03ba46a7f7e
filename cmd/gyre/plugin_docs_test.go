package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/internal/toolchains"
)

// TestPluginDocs runs the sessions of documents, each one's after another, and compares what they print.
// What only looks is run until it prints it: a plugin takes its time.
func TestPluginDocs(t *testing.T) {
	runDocuments(t, map[string]int{"plugins": 15, "dry-runs": 15, "validators": 12, "poison": 14, "projections": 12})
}

// TestSoakPluginDocs is about documents whose parts are tested elsewhere, too: in TestDevPrintsRounds,
// TestShopCrash, and in plugins/judge.
func TestSoakPluginDocs(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK=1 runs the commands of more documents")
	}
	runDocuments(t, map[string]int{"plugin-dev": 7, "process-manager": 12, "filters": 12})
}

// runDocuments runs documents with so many commands at least.
func runDocuments(t *testing.T, documents map[string]int) {
	for document, least := range documents {
		t.Run(document, func(t *testing.T) {
			t.Parallel()
			runDocument(t, t.TempDir(), "../../docs/"+document+".md", least)
		})
	}
}

// TestSoakPluginLanguagesDocs runs those of docs/plugin-languages.md, with the toolchains of all
// languages.
func TestSoakPluginLanguagesDocs(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK=1 runs the commands of docs/plugin-languages.md")
	}
	toolchains.C(t)
	packages, err := filepath.Abs(toolchains.AssemblyScript(t, "../.."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil { // what npm ci downloads
		t.Fatal(err)
	}
	t.Setenv("PATH", toolchains.Rust(t))
	runDocument(t, dir, "../../docs/plugin-languages.md", 17)
}

// TestPluginIODocs runs those of docs/plugin-io.md against a receiver, which answers the first post
// with 503. It sees that each post is signed with the secret of the document, and has the same key.
func TestPluginIODocs(t *testing.T) {
	t.Parallel()
	const document = "../../docs/plugin-io.md"
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	secrets := strings.Split(strings.SplitN(string(text), "```yaml\n", 2)[1], "```")[0]
	key := strings.Split(secrets, `"`)[1]
	var mu sync.Mutex
	var posts []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		sum := hmac.New(sha256.New, []byte(key))
		sum.Write(body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/hook" || r.Header.Get("X-Signature") != hex.EncodeToString(sum.Sum(nil)) {
			t.Errorf("posted %s with %v, %v", body, r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if posts = append(posts, r.Header.Get("Idempotency-Key")+" "+string(body)); len(posts) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secrets.yaml"), []byte(secrets), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "RECEIVER="+receiver.Listener.Addr().String())
	runDocumentIn(t, env, dir, document, 5, "--plugin-secrets-file", "secrets.yaml")
	mu.Lock()
	defer mu.Unlock()
	if len(posts) != 2 || posts[0] != posts[1] || !strings.HasSuffix(posts[0], `{"position":1,"stream":"order-1","type":"OrderPlaced","data":{"total":10}}`) {
		t.Errorf("posted %q", posts)
	}
}

// runDocument runs the commands of a document in a directory.
func runDocument(t *testing.T, dir, document string, least int) {
	runDocumentIn(t, os.Environ(), dir, document, least)
}

// runDocumentIn is runDocument in an environment, with settings of the node.
func runDocumentIn(t *testing.T, env []string, dir, document string, least int, settings ...string) {
	gyre := plainProgram(t, "gyre")
	node, err := serveWith(gyre, dir, env, filepath.Join(dir, "node.log"), append([]string{"--engine", "memory"}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	examples, err := filepath.Abs("../../examples")
	if err == nil {
		err = os.Symlink(examples, filepath.Join(dir, "examples"))
	}
	if err != nil {
		t.Fatal(err)
	}
	looks := regexp.MustCompile(`^gyre (plugin (diff|state|ls|info|poison ls)|read|subscriptions parked)`)
	ran := 0
	for _, step := range session(t, document) {
		ran++
		if to, ok := strings.CutPrefix(step.command, "cd "); ok {
			dir = filepath.Join(dir, to)
			continue
		}
		for by := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			cmd := exec.Command("sh", "-c", step.command)
			cmd.Dir = dir
			cmd.Env = append(slices.Clip(env), "GYRE_SERVER="+node.url, "PATH="+filepath.Dir(gyre)+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if printed := strings.ReplaceAll(string(out), "\n", " "); err == nil && matches(strings.ReplaceAll(step.output, "\n", " "), printed) {
				break
			}
			if !looks.MatchString(step.command) || time.Now().After(by) {
				t.Fatalf("$ %s\nprints\n%s%v\n%s says\n%s", step.command, out, err, document, step.output)
			}
		}
	}
	if ran < least {
		t.Errorf("the sessions have %d commands", ran)
	}
}
