package wire

import "github.com/go-json-experiment/json/jsontext"

// The subprotocols, in the server's order of preference.
const (
	Bin  = "gyre.v1.bin"
	JSON = "gyre.v1.json"
)

// The messages of a client. Unknown fields are ignored.
type (
	// Hello is the first message of a connection.
	Hello struct {
		Op     string  `json:"op"`
		ID     uint64  `json:"id"`
		Client *Agent  `json:"client,omitzero"`
		Auth   *Auth   `json:"auth,omitzero"`
		Accept *Accept `json:"accept,omitzero"`
	}

	// Refresh has the connection go on with another key of the same role and patterns.
	Refresh struct {
		Op    string `json:"op"`
		ID    uint64 `json:"id"`
		Token string `json:"token"`
	}

	// AppendRequest is one append, of events or links, or a transaction of several
	// with checks and changes of streams. Either may move a progress, which may be all that
	// there is, as changes of streams may.
	AppendRequest struct {
		Op        string         `json:"op"`
		ID        uint64         `json:"id"`
		Stream    *string        `json:"stream,omitzero"`
		Expect    *Expect        `json:"expect,omitzero"`
		Events    []Event        `json:"events,omitzero"`
		Links     []ID           `json:"links,omitzero"`
		Tx        []Element      `json:"tx,omitzero"`
		Checks    []Check        `json:"checks,omitzero"`
		Streams   []StreamChange `json:"streams,omitzero"`
		Progress  *Progress      `json:"progress,omitzero"`
		TimeoutMs int64          `json:"timeoutMs,omitzero"`
	}

	// ReadRequest asks for a page.
	ReadRequest struct {
		Op        string `json:"op"`
		ID        uint64 `json:"id"`
		Stream    string `json:"stream"`
		From      uint64 `json:"from,omitzero"`
		Dir       string `json:"dir,omitzero"`
		Limit     int    `json:"limit,omitzero"`
		Bytes     int    `json:"bytes,omitzero"`
		TimeoutMs int64  `json:"timeoutMs,omitzero"`
		// Links asks for $all as it was written (core.LogReader).
		Links bool `json:"links,omitzero"`
		// System asks $all for the events of the system's streams, too.
		System bool `json:"system,omitzero"`
		// FromTime takes the place of From: a time at which an event was recorded.
		FromTime *string `json:"fromTime,omitzero"`
		Selection
		// Snapshot is the kind of a snapshot to begin behind, which the answer has, too.
		Snapshot string `json:"snapshot,omitzero"`
	}

	// Subscribe starts a follow, or joins a named subscription.
	Subscribe struct {
		Op        string  `json:"op"`
		ID        uint64  `json:"id"`
		Sub       uint64  `json:"sub"`
		Stream    string  `json:"stream,omitzero"`
		From      *From   `json:"from,omitzero"`
		Filter    *Filter `json:"filter,omitzero"`
		System    bool    `json:"system,omitzero"` // as in ReadRequest
		Credit    *Amount `json:"credit,omitzero"`
		MaxBatch  int     `json:"maxBatch,omitzero"`
		TimeoutMs int64   `json:"timeoutMs,omitzero"`

		// Of a named subscription, which has a stream, a from and a filter in its
		// Options: those that it is created with, or must have.
		Subscription string         `json:"subscription,omitzero"`
		Transient    bool           `json:"transient,omitzero"` // nothing of it is stored
		Consumer     string         `json:"consumer,omitzero"`
		Workers      int            `json:"workers,omitzero"`    // events that the consumer handles at a time
		BufferSize   int            `json:"bufferSize,omitzero"` // events in flight to it, if less than in the options
		Ack          string         `json:"ack,omitzero"`        // "explicit" is all there is
		Options      jsontext.Value `json:"options,omitzero"`
		AnyOptions   bool           `json:"anyOptions,omitzero"`  // Options are for creating it only
		Incarnation  string         `json:"incarnation,omitzero"` // that was joined before, and no other

	}

	// Other is a message of an op that is not here: an extension of the server may
	// have it. It has what all requests may have; Text is all of it.
	Other struct {
		Op        string  `json:"op"`
		ID        uint64  `json:"id"`
		Sub       uint64  `json:"sub,omitzero"`
		Credit    *Amount `json:"credit,omitzero"`
		TimeoutMs int64   `json:"timeoutMs,omitzero"`
		Text      []byte  `json:"-"`
	}

	// Credit allows a sub more.
	Credit struct {
		Op     string `json:"op"`
		Sub    uint64 `json:"sub"`
		Events int64  `json:"events"`
		Bytes  int64  `json:"bytes"`
	}

	// Unsubscribe ends a sub. Lost is of a named one whose consumer is gone without a
	// goodbye: what was in flight to it has failed.
	Unsubscribe struct {
		Op   string `json:"op"`
		ID   uint64 `json:"id"`
		Sub  uint64 `json:"sub"`
		Lost bool   `json:"lost,omitzero"`
	}

	// Cancel ends a request early; that one is then answered canceled.
	Cancel struct {
		Op string `json:"op"`
		ID uint64 `json:"id"`
	}
)

// Auth is how a client says who it is.
type Auth struct {
	Token string `json:"token"`
}

// Principal is who a connection is for.
type Principal struct {
	Name      string   `json:"name"`
	Role      string   `json:"role"`
	Streams   []string `json:"streams,omitzero"` // patterns
	Names     []string `json:"names,omitzero"`   // patterns
	ExpiresAt Time     `json:"expiresAt,omitzero"`
}

// Ping asks the peer for a Pong with the same number; both sides send it.
type (
	Ping struct {
		Op string `json:"op"`
		N  uint64 `json:"n"`
	}
	Pong struct {
		Op string `json:"op"`
		N  uint64 `json:"n"`
	}
)

// The messages of a server.
type (
	// Welcome answers Hello.
	Welcome struct {
		Op        string     `json:"op"`
		ID        uint64     `json:"id"`
		Server    Server     `json:"server"`
		Session   string     `json:"session"`
		Principal *Principal `json:"principal,omitzero"`
		Log       string     `json:"log"`
		Limits    Limits     `json:"limits"`
		Ping      PingPlan   `json:"ping"`
		Batch     bool       `json:"batch"`
		Compress  string     `json:"compress,omitzero"` // the codec of frames from now on
		Features  []string   `json:"features"`
		Nodes     []string   `json:"nodes,omitzero"` // host:port of the other nodes of a ring
		Time      Time       `json:"time,omitzero"`
		Warnings  []string   `json:"warnings,omitzero"` // about the request
	}

	// OK answers a request. Which fields it has depends on the request.
	OK struct {
		Op string `json:"op"`
		ID uint64 `json:"id"`

		// Of an append. Version is of the last event; with a transaction it is
		// in Appends, which has one entry for each element.
		Version   uint64     `json:"version,omitzero"` // of a read: of the stream, or the head of $all
		Position  uint64     `json:"position,omitzero"`
		Count     int        `json:"count,omitzero"`
		Duplicate bool       `json:"duplicate,omitzero"`
		Appends   []Appended `json:"appends,omitzero"`
		// Node is the owner, where that is another node: of an append, and of a subscribe
		// to a named subscription.
		Node string `json:"node,omitzero"`

		PageFields

		// Of a subscribe.
		Sub    uint64 `json:"sub,omitzero"`
		Cursor string `json:"cursor,omitzero"`
		Head   uint64 `json:"head,omitzero"` // of a read, too
		// Of a named subscription. Incarnation is what a later subscribe gives to come back
		// to it, Cursor its stored checkpoint, and State and Reason are those of a Status.
		Incarnation string `json:"incarnation,omitzero"`
		State       string `json:"state,omitzero"`
		Reason      string `json:"reason,omitzero"`

		Warnings []string `json:"warnings,omitzero"` // about the request

		// Of a refresh: when the key ends, if it does.
		ExpiresAt Time `json:"expiresAt,omitzero"`
	}

	// PageFields are those of an OK that answers a read.
	PageFields struct {
		Snapshot *Snapshot        `json:"snapshot,omitzero"` // that the events follow
		Events   []jsontext.Value `json:"events,omitzero"`
		Next     uint64           `json:"next,omitzero"`
		End      bool             `json:"end,omitzero"`
		// Scanned is how far the page reaches, if the read selects events.
		Scanned uint64 `json:"scanned,omitzero"`
	}

	// Failure answers a request that was refused, or, without an id, a message
	// that was not understood.
	Failure struct {
		Op       string   `json:"op"`
		ID       uint64   `json:"id,omitzero"`
		Error    *Error   `json:"error"`
		Warnings []string `json:"warnings,omitzero"` // about the request
	}

	// Events carries events of a sub.
	Events struct {
		Op     string           `json:"op"`
		Sub    uint64           `json:"sub"`
		Events []jsontext.Value `json:"events"`
		Cursor string           `json:"cursor"`
	}

	// Status reports the state of a sub. The cursor of a named one is its stored checkpoint.
	Status struct {
		Op     string `json:"op"`
		Sub    uint64 `json:"sub"`
		State  string `json:"state"`
		Cursor string `json:"cursor"`
		Head   uint64 `json:"head"`
		Lag    uint64 `json:"lag,omitzero"`
		Reason string `json:"reason,omitzero"`
	}

	// End says that a sub is over.
	End struct {
		Op        string `json:"op"`
		Sub       uint64 `json:"sub"`
		Error     *Error `json:"error"`
		Cursor    string `json:"cursor,omitzero"`
		Retryable bool   `json:"retryable"`
	}

	// Goaway says that the connection will be closed, and when to come back. Nodes are the
	// other nodes of a ring, where to go at once.
	Goaway struct {
		Op            string   `json:"op"`
		Reason        string   `json:"reason"`
		ReconnectInMs int64    `json:"reconnectInMs"`
		Nodes         []string `json:"nodes,omitzero"`
	}
)

// The states of the Status of a follow. A named subscription has those of delivery.State, and
// StateCheckpoint.
const (
	StateLive       = "live"
	StateCatchup    = "catchup"
	StateCheckpoint = "checkpoint"
	StateNoQuorum   = "no_quorum" // the node delivers nothing for now
)

// Parts of messages.
type (
	Agent struct {
		Name    string `json:"name"`
		Version string `json:"version,omitzero"`
	}
	Accept struct {
		Batch    bool     `json:"batch,omitzero"`
		Compress []string `json:"compress,omitzero"` // codecs, the best first
		Owner    bool     `json:"owner,omitzero"`    // RESULTS and COMMITTED may name the owner
	}
	Element struct {
		Stream string  `json:"stream"`
		Expect *Expect `json:"expect,omitzero"`
		Events []Event `json:"events,omitzero"`
		Links  []ID    `json:"links,omitzero"`
	}
	Check struct {
		Stream string  `json:"stream"`
		Expect *Expect `json:"expect"`
	}
	// StreamChange changes a whole stream: delete, undelete, remove or tombstone.
	StreamChange struct {
		Stream string  `json:"stream"`
		Action string  `json:"action"`
		Expect *Expect `json:"expect,omitzero"`
	}
	Filter struct {
		Types   []string `json:"types,omitzero"`
		Streams []string `json:"streams,omitzero"`
	}
	Amount struct {
		Events int64 `json:"events"`
		Bytes  int64 `json:"bytes,omitzero"`
	}
	Server struct {
		Version string `json:"version"`
		Node    string `json:"node"`
	}
	Limits struct {
		Frame        int   `json:"frame"`
		Subs         int   `json:"subs"`
		Inflight     int   `json:"inflight"`
		CreditEvents int64 `json:"creditEvents"`
		CreditBytes  int64 `json:"creditBytes"`
	}
	PingPlan struct {
		IntervalMs int64 `json:"intervalMs"`
		TimeoutMs  int64 `json:"timeoutMs"`
	}
	Appended struct {
		Version  uint64 `json:"version"`
		Position uint64 `json:"position"`
		Count    int    `json:"count"`
	}
)
