package output

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

const (
	table = "plugin_logs"

	// MaxStoredBytes is how much of a log is kept at least, once there is as much.
	MaxStoredBytes = 4 << 20
	maxChunkBytes  = 64 << 10
)

// index is the record of a log.
type index struct {
	Next uint64 `json:"next"` // the sequence number of the next line; the first is 1
	// Packed are the chunks in order: for each the difference of its first line's number
	// from that of the chunk before, and its bytes, both as uvarints.
	Packed []byte `json:"chunks,omitempty"`
	// First is the FirstGeneration of the binding that has logged this.
	First uint64 `json:"first,omitempty"`
	// Writer and Serial tell which Outputs has written this, and how often, so that one
	// whose Commit was not answered knows its own.
	Writer string `json:"writer"`
	Serial uint64 `json:"serial"`

	chunks   []chunk
	revision uint64
}

// chunk is some lines of a log.
type chunk struct {
	first uint64
	bytes int
}

func (c chunk) key(binding string) string { return fmt.Sprintf("%s/%016x", binding, c.first) }

// openIndex decodes the record of a log. No record is an empty log.
func openIndex(records []core.Record) (*index, error) {
	if len(records) == 0 {
		return &index{Next: 1}, nil
	}
	i := &index{revision: records[0].Revision}
	if err := json.Unmarshal(records[0].Value, i); err != nil {
		return nil, core.Errorf(core.CodeStoreCorrupt, "the index of the log of binding %q: %w", records[0].Key, err)
	}
	first := uint64(0)
	for b := i.Packed; len(b) > 0; {
		more, n := binary.Uvarint(b)
		size, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, core.Errorf(core.CodeStoreCorrupt, "the index of the log of binding %q ends in a chunk", records[0].Key)
		}
		first += more
		b = b[n+m:]
		i.chunks = append(i.chunks, chunk{first, int(size)})
	}
	return i, nil
}

// encode returns the record.
func (i *index) encode() ([]byte, error) {
	i.Packed = i.Packed[:0]
	last := uint64(0)
	for _, c := range i.chunks {
		i.Packed = binary.AppendUvarint(i.Packed, c.first-last)
		i.Packed = binary.AppendUvarint(i.Packed, uint64(c.bytes))
		last = c.first
	}
	return json.Marshal(i)
}

// merge returns how many chunks at the end are written again, together with a new one of size
// bytes: those that are not much larger, so that there are few chunks, and each line is
// written again only while its chunk grows by half.
func (i *index) merge(size int) (count int) {
	for count < len(i.chunks) {
		c := i.chunks[len(i.chunks)-1-count]
		if c.bytes > 2*size || c.bytes+size > maxChunkBytes {
			break
		}
		size += c.bytes
		count++
	}
	return count
}

// trim returns the oldest chunks that need not be kept, and takes them out.
func (i *index) trim() (old []chunk) {
	total := 0
	for _, c := range i.chunks {
		total += c.bytes
	}
	n := 0
	for n < len(i.chunks) && total-i.chunks[n].bytes >= MaxStoredBytes {
		total -= i.chunks[n].bytes
		n++
	}
	old, i.chunks = i.chunks[:n], i.chunks[n:]
	return old
}

// number gives lines their sequence numbers, and returns them as rows.
func (i *index) number(lines []plugins.LogLine) (rows [][]byte, err error) {
	for k := range lines {
		lines[k].Seq = i.Next
		var row bytes.Buffer
		encoder := json.NewEncoder(&row)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(&lines[k]); err != nil {
			return nil, err
		}
		i.Next++
		rows = append(rows, row.Bytes())
	}
	return rows, nil
}

// cut joins rows, the first of which has a sequence number, into chunks.
func cut(first uint64, rows [][]byte) (chunks []chunk, texts [][]byte) {
	for k, row := range rows {
		last := len(texts) - 1
		if last < 0 || len(texts[last])+len(row) > maxChunkBytes {
			chunks = append(chunks, chunk{first: first + uint64(k)})
			texts = append(texts, nil)
			last++
		}
		texts[last] = append(texts[last], row...)
		chunks[last].bytes = len(texts[last])
	}
	return chunks, texts
}

// decodeChunk returns the lines of a chunk that are behind a sequence number.
func decodeChunk(record core.Record, after uint64) (lines []plugins.LogLine, err error) {
	for row := range bytes.Lines(record.Value) {
		var line plugins.LogLine
		if err := json.Unmarshal(row, &line); err != nil {
			return nil, core.Errorf(core.CodeStoreCorrupt, "the log chunk %q: %w", record.Key, err)
		}
		if line.Seq > after {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
