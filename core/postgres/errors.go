package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// SQLSTATEs that mean something here.
const (
	stateEpochOver  = "GY001" // raised by commit_group
	stateOlderNodes = "GY002" // raised by refuse_older_nodes
	stateChanged    = "GY003" // raised by commit_group
	statePolicyPut  = "GY004" // raised by scavenge_some

	stateNoParent            = "23503"
	stateUniqueViolation     = "23505"
	stateReadOnly            = "25006"
	stateNoStatement         = "26000"
	stateStatementThere      = "42P05"
	stateWrongAuthentication = "28000"
	stateWrongPassword       = "28P01"
	stateNoDatabase          = "3D000"
	stateProtocol            = "08P01"
	stateBadSetting          = "22023"
	stateSerialization       = "40001"
	stateDeadlock            = "40P01"
	stateNoPrivilege         = "42501"
	stateNoSetting           = "42704"
	stateDiskFull            = "53100"
	stateFixedSetting        = "55P02"
	stateLockTimeout         = "55P03"
	stateCanceled            = "57014"
	stateDamaged             = "XX001"
	stateIndexDamaged        = "XX002"
)

// stateOf is the SQLSTATE of an error that the server answered, or "".
func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// fate is what an error leaves of a call that might have changed something.
type fate int

const (
	nothingDone fate = iota // nothing of it was done
	unknownFate             // it may have been done
)

// fateOf returns what became of a call that failed.
func fateOf(err error) fate {
	if pgconn.SafeToRetry(err) {
		return nothingDone
	}
	// An error ends the transaction before it commits. A fatal one may come
	// between the commit and its acknowledgement.
	var e *pgconn.PgError
	if errors.As(err, &e) && e.SeverityUnlocalized == "ERROR" {
		return nothingDone
	}
	var a *acquireError
	if errors.As(err, &a) {
		return nothingDone
	}
	return unknownFate
}

// isKnownID reports whether an event's id turned out to be taken.
func isKnownID(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == stateUniqueViolation && e.ConstraintName == "events_id"
}

// asError is err as an Error of the catalogue. What the driver says of a
// connection may name hosts and users, never a password.
func asError(err error) *core.Error {
	var known *core.Error
	if errors.As(err, &known) {
		return known
	}
	var e *pgconn.PgError
	if errors.As(err, &e) {
		var c *pgconn.ConnectError
		if errors.As(err, &c) && isBadSetting(e) {
			return core.Errorf(core.CodeInvalidConfig, "the server does not take what the URL asks for: %s", e.Message)
		}
		if e.Code == stateOlderNodes {
			return core.Errorf(core.CodeNodesOutdated, "%s", e.Message)
		}
		return core.Errorf(codeOf(e), "PostgreSQL answered: %s (%s)", e.Message, e.Code)
	}
	var network net.Error
	switch {
	case errors.Is(err, errMalformed):
		return core.Errorf(core.CodeInternal, "PostgreSQL answered what no store of Gyre has: %s", err)
	case errors.Is(err, context.Canceled):
		return core.AsError(err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return core.Errorf(core.CodeTimeout, "PostgreSQL did not answer in time")
	}
	if !isConnection(err) {
		// A value that cannot be read, say. The server is there, and trying again is no use.
		return core.Errorf(core.CodeInternal, "PostgreSQL's answer cannot be used: %s", err)
	}
	return core.Errorf(core.CodeStoreUnavailable, "PostgreSQL cannot be reached: %s", reason(err))
}

// isConnection reports whether err says that there is no connection, or none any more.
func isConnection(err error) bool {
	var scan pgx.ScanArgError
	if errors.As(err, &scan) {
		return false
	}
	var acquire *acquireError
	var lost *lostError
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &acquire) || errors.As(err, &lost) || errors.As(err, &connect) || errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

func asErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return asError(err)
}

// isBadSetting reports whether a server refused a connection for one of its settings.
// What the driver does not know in a URL is one, a misspelt parameter too.
func isBadSetting(e *pgconn.PgError) bool {
	switch e.Code {
	case stateNoSetting, stateBadSetting, stateFixedSetting:
		return true
	case stateProtocol: // PgBouncer has no better state for it
		return strings.Contains(e.Message, "startup parameter")
	}
	return false
}

// codeOf is the code of what the server answered.
func codeOf(e *pgconn.PgError) core.Code {
	switch e.Code {
	case stateReadOnly:
		return core.CodeStoreReadOnly
	case stateWrongAuthentication, stateWrongPassword, stateNoPrivilege:
		return core.CodeStoreDenied
	case stateDiskFull:
		return core.CodeStoreFull
	case stateCanceled, stateLockTimeout:
		return core.CodeTimeout
	case stateDeadlock, stateSerialization:
		return core.CodeOverloaded
	case stateDamaged, stateIndexDamaged:
		return core.CodeStoreCorrupt
	case stateNoDatabase:
		return core.CodeStoreUnavailable
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "53", "57":
		return core.CodeStoreUnavailable
	case "58":
		return core.CodeStoreReadOnly
	}
	return core.CodeInternal
}

// reason is what the driver says without the configuration it says it of. A server
// that is tried with and without TLS says the same twice.
func reason(err error) string {
	var c *pgconn.ConnectError
	if errors.As(err, &c) && c.Unwrap() != nil {
		err = c.Unwrap()
	}
	var said []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !slices.ContainsFunc(said, func(before string) bool { return strings.Contains(before, line) }) {
			said = append(said, line)
		}
	}
	return strings.Join(said, "; ")
}
