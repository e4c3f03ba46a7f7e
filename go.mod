module github.com/gyre-events/gyre

go 1.26
