package keys

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// Key says who may do what, until when.
type Key struct {
	ID   string      `json:"id"`
	Role access.Role `json:"role"`
	// Streams are patterns of the streams that it may use; an admin needs none.
	Streams []string `json:"streams,omitempty"`
	// Names are patterns of the subscriptions, progress, plugins and bindings that it may use
	// and change; nil is all of them.
	Names   []string  `json:"names,omitzero"`
	Note    string    `json:"note,omitempty"`
	Created time.Time `json:"created"`
	By      string    `json:"by"`               // the principal that made it
	Expires time.Time `json:"expires,omitzero"` // never, if zero
}

// Bounds of keys.
const (
	MaxKeys      = 10_000
	maxNoteBytes = 256
	// maxPatternBytes is what fits into the token with which a node sends a request on.
	maxPatternBytes = 8 << 10
	secretBytes     = 32
	maxToken        = 128
)

// tokenPrefix begins every token, so that people and scanners see what it is.
const tokenPrefix = "gyre_"

// record is what is stored of a key.
type record struct {
	Key
	Hash []byte `json:"hash"` // SHA-256 of the secret's text
}

// newSecret returns an id and a secret, both of letters and digits, '-' and '_'.
func newSecret() (id, secret string) {
	return strings.ToLower(rand.Text()[:10]), base64.RawURLEncoding.EncodeToString(randomBytes(secretBytes))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

// tokenOf joins an id and a secret.
func tokenOf(id, secret string) string { return tokenPrefix + id + "_" + secret }

var tokenForm = regexp.MustCompile(`^gyre_([a-z0-9]{10})_([A-Za-z0-9_-]{43})$`)

// parseToken takes a token apart. ok is false if it has not the form of one.
func parseToken(token string) (id, secret string, ok bool) {
	if len(token) > maxToken {
		return "", "", false
	}
	parts := tokenForm.FindStringSubmatch(token)
	if parts == nil {
		return "", "", false
	}
	return parts[1], parts[2], true
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// isSecret compares in a time that does not depend on where they differ.
func (r *record) isSecret(secret string) bool {
	return subtle.ConstantTimeCompare(r.Hash, hashOf(secret)) == 1
}

// principal is whom the key is of.
func (k *Key) principal() access.Principal {
	return access.Principal{Name: k.ID, Role: k.Role, Streams: k.Streams, Names: k.Names, Expires: k.Expires}
}

// validate checks what a client sent. The error is invalid_key.
func (k *Key) validate(now time.Time) error {
	if _, err := access.ParseRole(string(k.Role)); err != nil {
		return err
	}
	if err := cmp.Or(access.ValidatePatterns(access.Stream, k.Streams), access.ValidatePatterns(access.Name, k.Names)); err != nil {
		return err
	}
	switch {
	case len(strings.Join(k.Streams, "")+strings.Join(k.Names, "")) > maxPatternBytes:
		return core.Errorf(core.CodeInvalidKey, "the patterns of a key have at most %d bytes together", maxPatternBytes)
	case k.Role == access.Admin && len(k.Streams)+len(k.Names) > 0:
		return core.Errorf(core.CodeInvalidKey, "an admin may do everything: leave the patterns out")
	case (k.Role == access.Writer || k.Role == access.Reader) && len(k.Streams) == 0:
		return core.Errorf(core.CodeInvalidKey, "a %s needs patterns of streams, such as order-* or $all", k.Role)
	case len(k.Note) > maxNoteBytes || strings.ContainsFunc(k.Note, unicode.IsControl):
		return core.Errorf(core.CodeInvalidKey, "a note has at most %d bytes and no control characters", maxNoteBytes)
	case !k.Expires.IsZero() && !k.Expires.After(now):
		return core.Errorf(core.CodeInvalidKey, "the key would expire at %s, which is over", k.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}
