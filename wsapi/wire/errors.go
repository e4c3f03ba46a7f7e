package wire

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// maxRetryAfter bounds what a client believes of the other side.
const maxRetryAfter = time.Minute

// Error is the error object of every reply and problem: a core.Error with what the
// catalogue says of its code.
type Error struct {
	Code      core.Code `json:"code"`
	Status    int       `json:"status,omitzero"`
	Title     string    `json:"title,omitzero"`
	Detail    string    `json:"detail,omitzero"`
	Fix       string    `json:"fix,omitzero"`
	Retryable bool      `json:"retryable"`
	Doc       string    `json:"doc,omitzero"`

	Stream   string  `json:"stream,omitzero"`
	Expected *Expect `json:"expected,omitzero"`
	Actual   *uint64 `json:"actual,omitzero"`
	EventID  ID      `json:"eventId,omitzero"`
	Element  *int    `json:"element,omitzero"`
	Limit    int64   `json:"limit,omitzero"`
	Offset   *int64  `json:"offset,omitzero"`
	Epoch    uint64  `json:"epoch,omitzero"`
	// RetryAfterMs is when to try again.
	RetryAfterMs int64 `json:"retryAfterMs,omitzero"`

	Positions []uint64 `json:"positions,omitzero"`
	Versions  []uint64 `json:"versions,omitzero"`
	Known     []int    `json:"known,omitzero"`
}

// NewError makes the object. Of an error that is not a core.Error only its kind
// leaves the server.
func NewError(err error) *Error {
	e := core.AsError(err)
	info := e.Info()
	return &Error{
		Code: e.Code, Status: info.Status, Title: info.Title, Detail: withoutKeys(validText(e.Detail)), Fix: info.Fix,
		Retryable: info.Retryable, Doc: DocPath(e.Code),
		Stream: validText(e.Stream), Expected: (*Expect)(e.Expected), Actual: e.Actual, EventID: ID(e.EventID),
		Element: e.Element, Limit: e.Limit, Offset: e.Offset, Epoch: e.Epoch, RetryAfterMs: e.RetryAfter.Milliseconds(),
		Positions: e.Positions, Versions: e.Versions, Known: e.Known,
	}
}

// DocPath is where a node explains a code.
func DocPath(code core.Code) string { return "/docs/errors/" + string(code) }

// Err is the error that the server had. A code that this side does not know stays
// as it is.
func (e *Error) Err() *core.Error {
	c := core.Errorf(e.Code, "%s", e.Detail)
	c.Stream, c.Expected, c.Actual, c.EventID = e.Stream, (*core.Expect)(e.Expected), e.Actual, core.ID(e.EventID)
	c.Element, c.Limit, c.Offset, c.Epoch = e.Element, e.Limit, e.Offset, e.Epoch
	c.Positions, c.Versions, c.Known = e.Positions, e.Versions, e.Known
	c.RetryAfter = time.Duration(max(0, min(e.RetryAfterMs, maxRetryAfter.Milliseconds()))) * time.Millisecond
	return c
}

// validText keeps an error that quotes bad input from being bad output.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// keyText is a key, or one that was shortened, as far as its id.
var keyText = regexp.MustCompile(`(gyre_[a-z0-9]{10}_)[A-Za-z0-9_-]{8,}`)

// withoutKeys cuts the secrets of keys that a client has put where they do not belong: what quotes
// them ends in terminals and logs.
func withoutKeys(s string) string {
	if !strings.Contains(s, "gyre_") {
		return s
	}
	return keyText.ReplaceAllString(s, "$1…")
}

// requestError is what a client is told of a text that was not understood.
func requestError(err error) *core.Error {
	var typed *core.Error
	var semantic *json.SemanticError
	isSemantic := errors.As(err, &semantic)
	switch {
	case errors.As(err, &typed):
		if isSemantic && semantic.JSONPointer != "" {
			typed.Detail = core.Clip(string(semantic.JSONPointer)) + ": " + typed.Detail
		}
		return typed
	case isSemantic:
		where := string(semantic.JSONPointer)
		if where == "" {
			where = "the message"
		}
		if errors.Is(err, json.ErrUnknownName) {
			return core.Errorf(core.CodeInvalidRequest, "%s is not a field that is known", core.Clip(where))
		}
		if semantic.JSONValue != nil && len(semantic.JSONValue) <= 80 {
			return core.Errorf(core.CodeInvalidRequest, "%s cannot be %s", core.Clip(where), semantic.JSONValue)
		}
		return core.Errorf(core.CodeInvalidRequest, "%s cannot be %s", core.Clip(where), kindName(semantic.JSONKind))
	}
	return notJSON(core.CodeInvalidRequest, "the text", err)
}

// notJSON is the error of what a decoder does not take for a JSON value. A decoder gives up
// on one that is nested very deeply, so that core does not see it.
func notJSON(code core.Code, what string, err error) *core.Error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) && syntax.Err != nil && syntax.Err.Error() == "exceeded max depth" { // jsontext has no name for it
		e := core.Errorf(core.CodeDataTooComplex, "%s has lists and objects too deep, the limit is %d", what, core.MaxJSONDepth)
		e.Limit = core.MaxJSONDepth
		return e
	}
	return core.Errorf(code, "%s is not valid JSON: %s", what, syntaxOf(err))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	case jsontext.KindInvalid:
		return "what it is"
	}
	return "a " + k.String()
}

// syntaxOf says what is wrong with a text and where.
func syntaxOf(err error) string {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "a name stands twice in one object"
	case errors.As(err, &syntax):
		if syntax.Err == nil {
			return fmt.Sprintf("at byte %d", syntax.ByteOffset)
		}
		return fmt.Sprintf("%s at byte %d", validText(syntax.Err.Error()), syntax.ByteOffset)
	}
	return "it ends too early"
}
