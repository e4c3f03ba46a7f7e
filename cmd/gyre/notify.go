package main

import (
	"errors"
	"log/slog"
	"net"
	"time"
)

// What a service manager is told, as sd_notify(3) defines it.
const (
	notifyReady    = "READY=1"
	notifyStopping = "STOPPING=1"
)

// notifyWithin bounds the wait for a service manager that does not read its socket.
const notifyWithin = time.Second

// notify sends a state to the service manager that started the process, if that set
// NOTIFY_SOCKET. systemd does, for a unit of Type=notify.
func (a *app) notify(logger *slog.Logger, state string) {
	socket := a.getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	if err := sendDatagram(socket, state); err != nil {
		logger.Warn("the service manager is not notified", "state", state, "error", err)
	}
}

// sendDatagram sends a text to a Unix socket. A name that begins with @ is abstract.
func sendDatagram(socket, text string) error {
	conn, err := net.DialTimeout("unixgram", socket, notifyWithin)
	if err != nil {
		return err
	}
	if err = conn.SetWriteDeadline(time.Now().Add(notifyWithin)); err == nil {
		_, err = conn.Write([]byte(text))
	}
	return errors.Join(err, conn.Close())
}
