// Command stdio is a plugin for Gyre without an SDK: a program that reads events from its standard
// input and writes effects to its standard output, one JSON object on each line. It bills orders,
// and keeps what each of them costs. An order without a total is parked.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err) // a line of the plugin's log
		os.Exit(1)                   // the batch has failed
	}
}

// line is a line that is read: the first is about the batch, and the others are events.
type line struct {
	Batch *struct {
		Config struct{ Currency string }
	}
	Position uint64
	Stream   string
	Data     struct{ Total int }
}

// run handles a batch.
func run(in io.Reader, out io.Writer) error {
	read, buffered := json.NewDecoder(in), bufio.NewWriter(out)
	write := json.NewEncoder(buffered)
	currency := ""
	for {
		var l line
		err := read.Decode(&l)
		switch {
		case err == io.EOF:
			return buffered.Flush()
		case err != nil:
			return err
		case l.Batch != nil:
			currency = l.Batch.Config.Currency
			continue
		}
		for _, effect := range bill(&l, currency) {
			if err := write.Encode(effect); err != nil {
				return err
			}
		}
	}
}

// object is a JSON object.
type object = map[string]any

// bill returns the effects of an order.
func bill(order *line, currency string) []object {
	if order.Data.Total <= 0 {
		return []object{{"do": "park", "position": order.Position, "reason": "the order has no total"}}
	}
	billed := object{"order": order.Stream, "total": order.Data.Total, "currency": currency}
	return []object{
		{"do": "append", "position": order.Position, "stream": "bills", "events": []object{{"type": "Billed", "data": billed}}},
		{"do": "put", "position": order.Position, "key": order.Stream, "value": order.Data.Total},
	}
}
