package wire

import "time"

// Stats are the counters and gauges of a node: the answer to GET /v1/stats and to op stats, and
// what op stats.follow sends. Counters count since the node began, so a rate is the difference of
// two Stats by that of their uptimes. Those of subscriptions and plugins go down when this node
// releases one. Sizes are in bytes, times in seconds.
type Stats struct {
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	Uptime  float64   `json:"uptime"`

	Log           LogStats          `json:"log"`
	Appends       AppendStats       `json:"appends"`
	Reads         ReadStats         `json:"reads"`
	Store         StoreStats        `json:"store"`
	Connections   ConnectionStats   `json:"connections"`
	HTTP          HTTPStats         `json:"http"`
	Process       ProcessStats      `json:"process"`
	Storage       StorageStats      `json:"storage"`
	Subscriptions SubscriptionStats `json:"subscriptions"`
	Plugins       PluginStats       `json:"plugins"`
}

// LogStats is how the log is, which all nodes of a ring share.
type LogStats struct {
	ID       string `json:"id"`
	Head     uint64 `json:"head"`
	ReadOnly bool   `json:"readOnly"` // it takes no Commits for now
}

// AppendStats count what clients append at this node, whichever node owns the stream.
type AppendStats struct {
	Events     uint64 `json:"events"` // written
	OK         uint64 `json:"ok"`     // appends
	Duplicates uint64 `json:"duplicates"`
	Conflicts  uint64 `json:"conflicts"`
	Errors     uint64 `json:"errors"`
	// Seconds is from an append's arrival to its answer, of those that are ok.
	Seconds Histogram `json:"seconds"`
}

// Histogram counts observations. The buckets are cumulative.
type Histogram struct {
	Count   uint64   `json:"count"`
	Sum     float64  `json:"sum"`
	Buckets []Bucket `json:"buckets"`
}

// Bucket counts the observations that are at most LE.
type Bucket struct {
	LE    float64 `json:"le"`
	Count uint64  `json:"count"`
}

// ReadStats count what this node sends to readers, followers and subscribers.
type ReadStats struct {
	Events uint64 `json:"events"`
}

// StoreStats count what this node commits: in a ring, as the owner of streams.
type StoreStats struct {
	Commits    uint64 `json:"commits"`
	Events     uint64 `json:"events"`
	Conflicts  uint64 `json:"conflicts"`
	Duplicates uint64 `json:"duplicates"`
	Failures   uint64 `json:"failures"`
	Steps      uint64 `json:"steps"` // groups of Commits made durable together
	// StepSeconds is the time that the steps took together.
	StepSeconds float64 `json:"stepSeconds"`
	Queued      int     `json:"queued"`    // Commits that wait for a step
	Followers   int     `json:"followers"` // of clients and of the process itself
}

// ConnectionStats are those of WebSocket connections.
type ConnectionStats struct {
	Open    int    `json:"open"`
	Closed  uint64 `json:"closed"`
	Follows int    `json:"follows"`
	// Memory waits to be read or written on all connections. Refused counts the requests,
	// follows and connections that MemoryLimit had no room for.
	Memory      int64  `json:"memory"`
	MemoryLimit int64  `json:"memoryLimit"`
	Refused     uint64 `json:"refused"`
}

// HTTPStats count HTTP requests by the class of their status.
type HTTPStats struct {
	Requests     uint64 `json:"requests"`
	Denied       uint64 `json:"denied"`       // 401, 403 and 429
	ClientErrors uint64 `json:"clientErrors"` // other 4xx
	ServerErrors uint64 `json:"serverErrors"` // 5xx
}

// ProcessStats are those of the node's process. Of a system that does not say, they are 0.
type ProcessStats struct {
	CPUSeconds float64 `json:"cpuSeconds"`
	Resident   int64   `json:"resident"`
	Heap       int64   `json:"heap"` // in use
	Goroutines int     `json:"goroutines"`
	OpenFiles  int     `json:"openFiles"`
}

// StorageStats are sizes. What an engine does not have is 0: in PostgreSQL everything is in
// Database. They are up to 10 seconds old.
type StorageStats struct {
	Log      int64 `json:"log"`
	Index    int64 `json:"index"`
	Records  int64 `json:"records"`
	Blobs    int64 `json:"blobs"`
	Database int64 `json:"database"`
}

// SubscriptionStats are sums over the subscriptions that this node owns, the first 500 by name.
// They are up to 5 seconds old.
type SubscriptionStats struct {
	Count       int     `json:"count"`
	Subscribers int     `json:"subscribers"`
	Lag         uint64  `json:"lag"`     // positions, of the one that is furthest behind
	Lagging     int     `json:"lagging"` // subscriptions that are behind
	Stopped     int     `json:"stopped"`
	InFlight    int     `json:"inFlight"`
	Parked      int     `json:"parked"`   // events
	ParkedIn    int     `json:"parkedIn"` // subscriptions
	Sent        uint64  `json:"sent"`     // as are those below, since a subscription is active
	Acked       uint64  `json:"acked"`
	Redelivered uint64  `json:"redelivered"`
	Failed      uint64  `json:"failed"`
	AckSeconds  float64 `json:"ackSeconds"` // from sending to ack, summed over Acked
}

// PluginStats are sums over the bindings that this node owns, the first 500 by name. They are up
// to 5 seconds old.
type PluginStats struct {
	Count    int            `json:"count"`
	States   map[string]int `json:"states"` // bindings, by state
	Lag      uint64         `json:"lag"`    // positions, of the one that is furthest behind
	Parked   int            `json:"parked"` // events
	State    int64          `json:"state"`  // keys and values
	Batches  uint64         `json:"batches"`
	Events   uint64         `json:"events"`
	Appended uint64         `json:"appended"`
	Writes   uint64         `json:"writes"`
	Failures uint64         `json:"failures"`
	Starts   uint64         `json:"starts"`
	Fuel     uint64         `json:"fuel"`
	Seconds  float64        `json:"seconds"` // in handlers
}

// The sources of settings.
const (
	FromDefault     = "default"
	FromFlag        = "flag"
	FromEnvironment = "environment"
	FromFile        = "file"
)

// Setting is one setting of a node, as it is in effect.
type Setting struct {
	Name string `json:"name"` // as the flag and the key of the file have it
	// Value is as a flag would have it. What is secret in it is •••.
	Value   string `json:"value"`
	Default string `json:"default"`
	Source  string `json:"source"` // default, flag, environment or file
	// From is the flag, the variable or the file with its line that set it.
	From string `json:"from,omitempty"`
	Help string `json:"help,omitempty"`
}

// Settings are the answer to GET /v1/config, in the order of their names.
type Settings struct {
	Node     string    `json:"node"`
	Settings []Setting `json:"settings"`
}
