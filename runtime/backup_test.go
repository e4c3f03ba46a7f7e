package runtime_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/spectest"
)

// TestBackupOfANode backs a node up through its API, restores it to a place and starts it: the
// subscription goes on where it was at that place, the blob is there, and the log has another
// identity.
func TestBackupOfANode(t *testing.T) {
	root := t.TempDir()
	node := start(t, runtime.Config{Data: filepath.Join(root, "data")})
	client := dial(t, node)
	for n := range 6 {
		e := core.NewEvent{Type: "T", Data: []byte(strconv.Itoa(n))}
		if _, err := client.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{e}}}}); err != nil {
			t.Fatal(err)
		}
	}
	handles(t, client, 1, 2)
	id, _, err := node.Store().PutBlob(t.Context(), bytes.NewReader([]byte("a blob")), core.MaxBlobBytes)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "backup")
	if _, err := disk.Backup(t.Context(), client, disk.BackupConfig{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	handles(t, client, 3, 4)
	to := disk.Config{Dir: filepath.Join(root, "restored")}
	if _, err := disk.Restore(t.Context(), disk.RestoreConfig{Backup: dir, To: to}); err != nil {
		t.Fatal(err)
	}
	restored := start(t, runtime.Config{Data: to.Dir})
	if was, now := node.Store().State().Log, restored.Store().State().Log; was == now {
		t.Errorf("both logs are %s", was)
	}
	again := dial(t, restored)
	handles(t, again, 3, 5)
	handles(t, again, 6, 6)
	content, err := restored.Store().Blob(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	_ = content.Close()
}

// handles has a subscription deliver the versions first to last of stream s, and acks them.
func handles(t *testing.T, client *sdk.Client, first, last uint64) {
	t.Helper()
	options := delivery.DefaultOptions()
	options.BufferSize = 1
	sub, err := client.Subscribe(t.Context(), "sub", sdk.SubscribeOptions{Definition: &subscriptions.Definition{Stream: "s", Options: options}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Close(t.Context()) }()
	for version := first; version <= last; version++ {
		d, err := sub.Next(t.Context(), core.Limit{Events: 1, Bytes: core.MaxPageBytes})
		if err != nil {
			t.Fatal(err)
		}
		for got := range d.Events() {
			if got.Version != version {
				t.Fatalf("version %d is delivered, want %d", got.Version, version)
			}
		}
		if err := d.AckDurable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNothingToBackUp: a node whose log is not on disk says what else there is.
func TestNothingToBackUp(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory})
	to := disk.BackupConfig{Dir: filepath.Join(t.TempDir(), "backup")}
	if _, err := disk.Backup(t.Context(), dial(t, node), to); !errors.Is(err, core.CodeNotSupported) {
		t.Error(err)
	}
	if _, err := os.Stat(to.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused backup has made its folder: %v", err)
	}
}

// The files of a node are asked for by name, and nothing else is given out.
func TestBackupFileIsOfTheLog(t *testing.T) {
	node := start(t, runtime.Config{Data: t.TempDir()})
	list := core.Backup{}
	_, body := get(t, node.URL()+"/v1/backup")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Files) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	f := list.Files[0]
	for _, c := range []struct {
		query string
		want  core.Code
	}{
		{"name=../secret&bytes=1", core.CodeInvalidRequest},
		{"name=log/../lock&bytes=1&version=" + f.Version, core.CodeInvalidRequest},
		{"name=lock&bytes=1", core.CodeInvalidRequest},
		{"name=" + f.Name + "&bytes=-1&version=" + f.Version, core.CodeInvalidRequest},
		{"name=" + f.Name + "&bytes=5000&from=6000&version=" + f.Version, core.CodeInvalidRequest},
		{"name=" + f.Name + "&bytes=5000&version=00000000", core.CodeBackupChanged},
		{"name=" + f.Name + "&bytes=999999999&version=" + f.Version, core.CodeBackupChanged},
		{"name=log/0000000002.seg&bytes=5000&version=" + f.Version, core.CodeBackupChanged},
		{"name=" + f.Name + "&bytes=4096&from=4096&sum=7&version=" + f.Version, core.CodeLogChanged},
	} {
		var problem struct{ Code core.Code }
		if _, body := get(t, node.URL()+"/v1/backup/file?"+c.query); json.Unmarshal([]byte(body), &problem) != nil || problem.Code != c.want {
			t.Errorf("%s: %s, want %s", c.query, body, c.want)
		}
	}
}

// The description of the API has the routes of backups and their bodies.
func TestBackupsAreDescribed(t *testing.T) {
	doc := spectest.Read(t, "../wsapi/docs/openapi.json")
	doc.Parameters(t, "GET", "/v1/backup", nil)
	doc.Parameters(t, "GET", "/v1/backup/file", []string{"name", "version", "bytes", "from", "sum"})
	doc.Bodies(t, map[string]reflect.Type{
		"Backup": reflect.TypeFor[core.Backup](), "BackupPoint": reflect.TypeFor[core.BackupPoint](), "BackupFile": reflect.TypeFor[core.BackupFile](),
	})
}
