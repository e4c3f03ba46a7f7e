package main

import (
	"context"
	"sync"
)

// batchesAhead is how many batches are read ahead while one is being written.
const batchesAhead = 2

// readAhead has one goroutine read what write gets, one after another: reading and
// writing overlap, and what is written keeps its order. It ends with the first
// error, or with ctx, and the goroutine before it.
func readAhead[T any](ctx context.Context, read func(ctx context.Context, out chan<- T) error, write func(T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan T, batchesAhead)
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer close(batches)
		readErr = read(ctx, batches)
	})
	err := func() error {
		for b := range batches {
			if err := write(b); err != nil {
				return err
			}
		}
		return ctx.Err()
	}()
	cancel()
	reading.Wait()
	if err == nil {
		err = readErr
	}
	return err
}
